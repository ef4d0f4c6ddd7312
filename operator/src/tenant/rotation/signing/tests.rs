//! What holders of tokens notice of a rotation, whatever becomes of the operator meanwhile.

use keystead_crds::Topology;
use proptest::prelude::*;

use super::*;
use crate::tenant::credentials::{self, Needs, missing, read};

/// Life of a token, in seconds.
const LIFE: i64 = 100;
/// The longest that a gateway takes to know a route, in seconds.
const LAG: i64 = 29;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn tenant() -> TenantName {
    "shop".parse().unwrap()
}

fn needs(signing: Algorithm) -> Needs {
    Needs { signing, encryption: None, topology: Topology::Standalone, app: false, webhooks: false }
}

/// What a gateway knows.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    keys: Vec<String>,
    active: String,
}

/// The Secret, and the routes that followed from it.
struct World {
    contents: Contents,
    annotations: BTreeMap<String, String>,
    routes: Vec<(i64, Known)>,
    signing: Algorithm,
    request: Option<&'static str>,
    rotate_after: Option<Duration>,
    /// None: the operator makes the keys; the inner none: whoever does cannot be asked.
    outside: Option<Option<String>>,
    now: i64,
}

impl World {
    fn new(signing: Algorithm) -> Self {
        let contents = missing(&tenant(), &Contents::new(), needs(signing)).unwrap();
        let mut world = Self {
            contents,
            annotations: BTreeMap::new(),
            routes: Vec::new(),
            signing,
            request: None,
            rotate_after: None,
            outside: None,
            now: 0,
        };
        // Every gateway knows it by the time that the world begins.
        world.routes.push((-LAG, world.wanted()));
        world
    }

    fn wanted(&self) -> Known {
        let credentials = read(&self.contents, needs(self.signing)).unwrap();
        let keys = credentials.keys.into_iter().map(|key| key.id).collect();
        Known { keys, active: credentials.active_key }
    }

    /// What a gateway knows that takes so long.
    fn known(&self, lag: i64) -> &Known {
        &self.routes.iter().rfind(|(since, _)| since + lag <= self.now).unwrap().1
    }

    fn situation(&self) -> Situation<'_> {
        let time = |name: &str| self.annotations.get(name).and_then(|it| it.parse().ok());
        Situation {
            contents: &self.contents,
            signing: self.signing,
            keeper: match &self.outside {
                None => Keeper::Operator,
                Some(key) => Keeper::Other(key.as_deref()),
            },
            request: self.request,
            carried_out: self.annotations.get(CARRIED_OUT_ANNOTATION).map(String::as_str),
            since: time(SINCE_ANNOTATION).or(Some(at(0))),
            rotate_after: self.rotate_after,
            told: time(TOLD_ANNOTATION),
            token_life: Duration::from_secs(LIFE.unsigned_abs()),
            now: at(self.now),
        }
    }

    /// One write of the operator: of the route where it is not as it is wanted, or a step. None: there is nothing to do.
    fn write(&mut self) -> Option<Option<Change>> {
        let wanted = self.wanted();
        if self.routes.last().unwrap().1 != wanted {
            self.routes.push((self.now, wanted));
            return Some(None);
        }
        let change = next(&self.situation())?;
        assert!(fits(change, &self.contents), "{change:?}");
        let key = self.outside.clone().flatten();
        let patch = patch(change, &tenant(), &self.contents, self.signing, key.as_deref()).unwrap();
        for (name, text) in patch {
            match text {
                Some(text) => self.contents.insert(name, text),
                None => self.contents.remove(&name),
            };
        }
        for (name, text) in annotations(change, self.request, at(self.now)).as_object().unwrap() {
            match text.as_str() {
                Some(text) => self.annotations.insert(name.clone(), text.to_owned()),
                None => self.annotations.remove(name),
            };
        }
        Some(Some(change))
    }

    /// Passes of an operator that looks again when it said, until nothing is under way; the steps with their times.
    fn settle(&mut self) -> Vec<(i64, Change)> {
        let mut steps = Vec::new();
        for _ in 0..100 {
            while let Some(step) = self.write() {
                steps.extend(step.map(|step| (self.now, step)));
            }
            if stage(&self.contents) == Stage::Idle {
                return steps;
            }
            let wait = look_again(&self.situation()).unwrap();
            self.now += i64::try_from(wait.as_secs()).unwrap();
        }
        panic!("it does not end: {steps:?}");
    }
}

/// Until when tokens of a key may be out.
#[derive(Default)]
struct Tokens(BTreeMap<String, i64>);

impl Tokens {
    /// Gateways of all kinds sign, and take whatever has not expired.
    fn check(&mut self, world: &World) {
        let gateways = [0, 7, LAG].map(|lag| world.known(lag));
        for gateway in gateways {
            self.0.insert(gateway.active.clone(), world.now + LIFE);
        }
        for gateway in gateways {
            for (key, _) in self.0.iter().filter(|(_, until)| **until > world.now) {
                assert!(gateway.keys.contains(key), "at {}: {key} is not in {gateway:?}", world.now);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_gateway_takes_every_token_whenever_the_operator_dies(
        passes in prop::collection::vec((1..200_i64, 0..4_usize, any::<bool>(), any::<bool>()), 1..16),
    ) {
        let mut world = World::new(Algorithm::EdDSA);
        let mut tokens = Tokens::default();
        for (away, writes, is_hs256, is_asked) in passes {
            for _ in 0..away {
                tokens.check(&world);
                world.now += 1;
            }
            world.signing = if is_hs256 { Algorithm::HS256 } else { Algorithm::EdDSA };
            world.request = Some(if is_asked { "1" } else { "2" });
            for _ in 0..writes {
                world.write();
            }
        }
        world.settle();
        let of_kind = at_place(&world, Place::Active);
        prop_assert_eq!(of_kind, [world.signing], "what the spec says is carried out in the end");
    }
}

fn at_place(world: &World, place: Place) -> Vec<Algorithm> {
    credentials::signing::at(&world.contents, place).map(|(algorithm, _)| algorithm).collect()
}

#[test]
fn a_request_is_carried_out_once_in_three_stages() {
    for signing in ALGORITHMS {
        let mut world = World::new(signing);
        let first = world.wanted();
        assert_eq!(world.settle(), [], "nobody asked for it");
        world.request = Some("1");
        let steps = world.settle();
        let expected = [
            (0, Change::Begin),
            (0, Change::Told),
            (30, Change::Switch),
            (30, Change::Told),
            (190, Change::End),
        ];
        assert_eq!(steps, expected);
        let routes: Vec<&Known> = world.routes.iter().map(|(_, route)| route).collect();
        let next = &world.wanted().active;
        assert_eq!(
            routes[1..],
            [
                &Known { keys: vec![first.active.clone(), next.clone()], active: first.active.clone() },
                &Known { keys: vec![next.clone(), first.active.clone()], active: next.clone() },
                &Known { keys: vec![next.clone()], active: next.clone() },
            ]
        );
        assert_ne!(*next, first.active);
        assert_eq!(world.settle(), [], "each request once");
        world.request = Some("");
        assert_eq!(world.settle(), [], "an empty value asks for nothing");
        world.request = Some("2");
        assert_eq!(world.settle().len(), 5);
    }
}

#[test]
fn another_algorithm_signs_when_all_gateways_know_its_key() {
    let mut world = World::new(Algorithm::EdDSA);
    let first = world.wanted().active;
    world.signing = Algorithm::HS256;
    assert_eq!(world.wanted().active, first, "tokens of a key that nobody knows would be refused");
    let steps = world.settle();
    assert_eq!(steps[2], (30, Change::Switch));
    assert_eq!(at_place(&world, Place::Active), [Algorithm::HS256]);
    assert!(world.routes.iter().any(|(_, it)| it.active != first && it.keys.contains(&first)));
}

#[test]
fn a_key_of_an_earlier_operator_that_no_longer_signs_ends_with_the_one_that_does() {
    let mut world = World::new(Algorithm::EdDSA);
    let other = World::new(Algorithm::HS256);
    world.contents.extend(other.contents.into_iter().filter(|(name, _)| name.starts_with("signing-")));
    assert_eq!((world.wanted().keys.len(), at_place(&world, Place::Active).len()), (2, 2));
    world.routes[0].1 = world.wanted();
    assert_eq!(world.settle(), []);
    world.request = Some("1");
    world.settle();
    assert_eq!(world.wanted().keys.len(), 1);
}

#[test]
fn an_old_key_is_replaced_by_age() {
    let mut world = World::new(Algorithm::EdDSA);
    world.rotate_after = Some(Duration::from_secs(5000));
    world.now = 4999;
    assert_eq!(world.settle(), []);
    assert_eq!(look_again(&world.situation()), Some(Duration::from_secs(1)));
    world.now = 5000;
    assert_eq!(world.settle()[2], (5030, Change::Switch));
    world.now = 10_029;
    assert_eq!(world.settle(), [], "counted from when it began to sign");
    world.now = 10_030;
    assert_eq!(world.settle().len(), 5);
}

#[test]
fn a_key_that_somebody_else_keeps_is_taken_over_in_the_same_stages_and_never_made() {
    let mut world = World::new(Algorithm::HS256);
    let first = world.contents["signing-hs256"].clone();
    (world.request, world.rotate_after) = (Some("1"), Some(Duration::ZERO));
    world.outside = Some(Some(first));
    assert_eq!(world.settle(), [], "it is the one that signs already");
    world.outside = Some(None);
    assert_eq!(world.settle(), [], "what is there goes on");
    let theirs = generate(&tenant(), "signing-hs256").unwrap();
    world.outside = Some(Some(theirs.clone()));
    while world.write().is_some() {}
    assert_eq!(stage(&world.contents), Stage::Spreading);
    world.outside = Some(None);
    world.settle();
    assert_eq!(world.contents["signing-hs256"], theirs, "what was begun is brought to an end");
    assert_eq!(at_place(&world, Place::Former), []);
}

#[test]
fn whoever_deletes_every_key_cuts_all_tokens_off_at_once() {
    let mut world = World::new(Algorithm::EdDSA);
    world.request = Some("1");
    for _ in 0..3 {
        world.write();
    }
    let before = world.wanted();
    world.contents.retain(|name, _| !name.starts_with("signing-"));
    let made = missing(&tenant(), &world.contents, needs(world.signing)).unwrap();
    assert_eq!(made.keys().collect::<Vec<_>>(), ["signing-eddsa.pem"]);
    world.contents.extend(made);
    let after = world.wanted();
    assert!(after.keys.len() == 1 && !before.keys.contains(&after.active));
    assert_eq!(world.settle(), [], "the rotation that was under way is over");
}

#[test]
fn passwords_that_are_being_replaced_are_none_of_its_business() {
    let mut world = World::new(Algorithm::EdDSA);
    for name in ["gateway-password-next", "worker-password-former", "webhook-secret-former"] {
        world.contents.insert(name.into(), "of others".into());
    }
    assert_eq!(stage(&world.contents), Stage::Idle);
    world.request = Some("1");
    world.settle();
    assert_eq!(world.contents.values().filter(|text| *text == "of others").count(), 3);
}
