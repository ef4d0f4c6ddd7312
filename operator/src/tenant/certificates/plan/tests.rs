//! A tenant's certificates over years, step by step.

use std::process::Command;

use super::*;
use crate::tenant::certificates::{WrongAuthority, make_authority};

const DAY: i64 = 24 * 3600;
const OVERLAP: Duration = Duration::from_mins(5);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn authority(second: i64) -> Authority {
    Authority::read(&make_authority(&"shop".parse().unwrap(), at(second)).unwrap()).unwrap()
}

fn names(services: &[&str]) -> Names {
    Names::of(&"shop".parse().unwrap(), services.iter().copied())
}

/// The Secret, and when it last changed.
struct World {
    contents: Contents,
    changed: Option<Timestamp>,
    authority: Authority,
    names: Names,
    all_moved: bool,
}

impl World {
    fn new() -> Self {
        let names = names(&["10.3.2.1"]);
        Self { contents: Contents::new(), changed: None, authority: authority(0), names, all_moved: true }
    }

    fn issued(&self) -> Issued {
        Issued::read(&self.contents).unwrap()
    }

    fn next(&self, second: i64) -> Option<Change> {
        next(&Situation {
            authority: &self.authority,
            issued: Issued::read(&self.contents).as_ref(),
            names: &self.names,
            changed: self.changed,
            all_moved: self.all_moved,
            overlap: OVERLAP,
            now: at(second),
        })
    }

    /// Carries out all that may be done at this time.
    fn pass(&mut self, second: i64) -> Vec<Change> {
        let mut done = Vec::new();
        while let Some(change) = self.next(second) {
            let order = Order {
                change,
                authority: self.authority.clone(),
                names: self.names.clone(),
                contents: self.contents.clone(),
            };
            self.contents = order.carry_out(at(second)).unwrap();
            self.changed = Some(at(second));
            done.push(change);
            assert!(done.len() < 5, "it does not settle: {done:?}");
            // Whoever trusts what the Secret says believes the certificate in it.
            let issued = self.issued();
            assert!(issued.trusted.iter().any(|it| issued.certificate.is_signed_by(it)), "{done:?}");
        }
        done
    }
}

#[test]
fn a_certificate_is_made_once_and_renewed_when_a_third_of_its_time_is_left() {
    let mut world = World::new();
    assert_eq!(world.pass(0), [Change::Issue]);
    let first = world.issued();
    assert_eq!(first.certificate.until, at(90 * DAY));
    for day in [1, 30, 59] {
        assert_eq!(world.next(day * DAY), None, "day {day}");
    }
    assert_eq!(world.pass(60 * DAY), [Change::Issue]);
    let second = world.issued();
    assert_ne!(second.certificate, first.certificate);
    assert_eq!(second.trusted, first.trusted);
    assert_eq!(world.next(60 * DAY + 3600), None);
}

#[test]
fn another_address_has_a_certificate_made_and_one_less_does_not() {
    let mut world = World::new();
    world.pass(0);
    world.names = names(&["10.3.2.1", "fd00::7"]);
    assert_eq!(world.pass(10), [Change::Issue]);
    world.names = names(&["10.3.2.1"]);
    assert_eq!(world.pass(20), []);
}

#[test]
fn another_authority_is_trusted_before_it_signs_and_the_former_as_long_as_anybody_may_show_what_it_signed() {
    let mut world = World::new();
    world.pass(0);
    let former = world.authority.clone();
    world.authority = authority(1000);
    assert_eq!(world.pass(1000), [Change::Trust]);
    assert!(world.issued().certificate.is_signed_by(&former.certificate));
    assert_eq!(world.issued().trusted.len(), 2);

    assert_eq!(world.pass(1299), []);
    world.all_moved = false;
    assert_eq!(world.pass(1300), [], "the worker does not trust the new one yet");
    world.all_moved = true;
    assert_eq!(world.pass(1300), [Change::Issue]);
    assert!(world.issued().certificate.is_signed_by(&world.authority.certificate));
    assert_eq!(world.issued().trusted.len(), 2);

    assert_eq!(world.pass(1599), []);
    assert_eq!(world.pass(1600), [Change::Forget]);
    assert_eq!(world.issued().trusted, [world.authority.certificate.clone()]);
    assert_eq!(world.pass(1700), []);
}

#[test]
fn whoever_cannot_be_moved_does_not_keep_the_others_from_a_certificate_for_ever() {
    let mut world = World::new();
    world.pass(0);
    world.authority = authority(1000);
    assert_eq!(world.pass(1000), [Change::Trust]);
    world.all_moved = false;
    let end = world.issued().certificate.until.as_second();
    assert_eq!(world.pass(end * 8 / 10), []);
    assert_eq!(world.pass(end * 95 / 100), [Change::Issue]);
    assert_eq!(world.pass(end - 1), [], "the worker may still trust the former alone");
}

#[test]
fn an_authority_that_changes_while_it_is_changed_leaves_nobody_without_trust() {
    let mut world = World::new();
    world.pass(0);
    world.authority = authority(1000);
    assert_eq!(world.pass(1000), [Change::Trust]);
    world.authority = authority(1100);
    assert_eq!(world.pass(1100), [Change::Trust]);
    assert_eq!(world.issued().trusted.len(), 3);
    assert_eq!(world.pass(1300), [], "the time begins anew");
    assert_eq!(world.pass(1400), [Change::Issue]);
    assert_eq!(world.pass(1700), [Change::Forget]);
}

#[test]
fn a_certificate_that_has_ended_is_replaced_at_once_whoever_signs() {
    let mut world = World::new();
    world.pass(0);
    world.authority = authority(100 * DAY);
    assert_eq!(world.pass(100 * DAY), [Change::Issue]);
    assert_eq!(world.pass(100 * DAY + 300), [Change::Forget]);
}

#[test]
fn what_somebody_has_broken_is_made_anew() {
    let mut world = World::new();
    world.pass(0);
    for (name, text) in [(KEY, "a word"), (CERTIFICATE, ""), (TRUSTED, "-----BEGIN CERTIFICATE-----")] {
        world.contents.insert(name.into(), text.into());
        assert_eq!(world.pass(10), [Change::Issue], "{name}");
    }
    // The key of another certificate.
    world.contents.insert(KEY.into(), make_authority(&"shop".parse().unwrap(), at(0)).unwrap()[KEY].clone());
    assert_eq!(world.pass(10), [Change::Issue]);
}

#[test]
fn our_own_authority_is_replaced_a_year_before_its_end() {
    assert!(wants_authority(None, at(0)));
    let own = authority(0);
    assert_eq!(own.certificate.until, at(3650 * DAY));
    assert!(!wants_authority(Some(&own), at(3284 * DAY)));
    assert!(wants_authority(Some(&own), at(3285 * DAY)));
}

#[test]
fn no_certificate_outlives_its_authority_and_none_is_made_that_gains_nothing() {
    let mut world = World::new();
    assert_eq!(world.pass(3600 * DAY), [Change::Issue]);
    assert_eq!(world.issued().certificate.until, at(3650 * DAY));
    assert_eq!(world.pass(3649 * DAY), [], "the next one would end at the same time");
}

/// The key pair of a CA as others make them, by openssl.
fn openssl(key: &[&str], config: &[&str]) -> Contents {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
        assert!(output.status.success(), "{output:?}");
    };
    run(&[key, &["-out", &path(KEY)]].concat());
    let request = ["req", "-x509", "-key", &path(KEY), "-out", &path(CERTIFICATE), "-days", "30"];
    run(&[&request[..], &["-subj", "/O=Example/CN=Company CA"], config].concat());
    [KEY, CERTIFICATE].map(|name| (name.to_owned(), std::fs::read_to_string(path(name)).unwrap())).into()
}

const ELLIPTIC: [&str; 5] = ["ecparam", "-name", "prime256v1", "-genkey", "-noout"];

#[test]
fn the_authority_of_somebody_else_may_have_any_usual_key() {
    for key in [&ELLIPTIC[..], &["genrsa", "-traditional"], &["genpkey", "-algorithm", "RSA"]] {
        let contents = openssl(key, &[]);
        let authority = Authority::read(&contents).unwrap();
        let now = authority.certificate.from;
        let mut world = World { authority, ..World::new() };
        assert_eq!(world.pass(now.as_second()), [Change::Issue], "{key:?}");
        assert_eq!(world.issued().certificate.until, world.authority.certificate.until);
    }
}

#[test]
fn what_is_no_authority_is_refused_with_what_is_wrong() {
    let good = openssl(&ELLIPTIC, &[]);
    let read = |contents: &Contents| Authority::read(contents).unwrap_err();
    assert_eq!(read(&Contents::new()), WrongAuthority::Missing(KEY));
    let mut wrong = good.clone();
    wrong.insert(CERTIFICATE.into(), "a word".into());
    assert_eq!(read(&wrong), WrongAuthority::Missing(CERTIFICATE));
    let mut wrong = good.clone();
    wrong.insert(KEY.into(), "a word".into());
    assert_eq!(read(&wrong), WrongAuthority::Missing(KEY));
    wrong.insert(KEY.into(), openssl(&ELLIPTIC, &[])[KEY].clone());
    assert_eq!(read(&wrong), WrongAuthority::OtherKey);
    let leaf = openssl(&ELLIPTIC, &["-addext", "basicConstraints=critical,CA:FALSE"]);
    assert_eq!(read(&leaf), WrongAuthority::NoAuthority);
    assert!(!format!("{:?}", Authority::read(&good)).contains("PRIVATE"));
}
