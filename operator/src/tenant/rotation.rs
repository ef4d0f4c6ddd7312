//! Replaces the passwords of Redis while they are in use. Pure.
//!
//! First a next one is valid beside each password; when every Redis accepts it, it takes the place of the one before, which
//! stays valid until all who use it have moved. So nobody is ever without a valid one, in whatever order they learn of it,
//! and an operator that dies in between goes on from what the Secret holds.

pub mod signing;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use keystead_route::TenantName;

use super::credentials::{Contents, FORMER, NEXT, Needs, NoRandomness, generate, password_of, passwords};

/// Annotation of the Tenant: another value asks for new passwords.
pub const REQUEST_ANNOTATION: &str = "keystead.io/rotate-passwords";
/// Annotations of the Secret: the request that was carried out last, and when passwords last took the place of others.
pub const CARRIED_OUT_ANNOTATION: &str = "keystead.io/rotated-for";
pub const SINCE_ANNOTATION: &str = "keystead.io/rotated-at";

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// None is under way.
    Idle,
    /// The next ones are being made known, and only valid.
    Spreading,
    /// They are in use, those before are still valid.
    Settling,
}

/// One step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes the next passwords.
    Begin,
    /// Puts them in the place of those before.
    Switch,
    /// Lets go of those before.
    End,
}

/// What the next step follows from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub contents: &'a Contents,
    /// Of the Tenant, see [`REQUEST_ANNOTATION`].
    pub request: Option<&'a str>,
    /// Of the Secret.
    pub carried_out: Option<&'a str>,
    /// When passwords last took the place of others, or were made.
    pub since: Option<Timestamp>,
    /// `spec.redis.credentials.rotateAfter`.
    pub rotate_after: Option<Duration>,
    /// Passwords that somebody else keeps, by name.
    pub outside: Option<&'a Contents>,
    /// Every Redis, and every Sentinel, accepts the next passwords.
    pub all_accept_next: bool,
    /// Everybody else is as is wanted: workers, members.
    pub all_moved: bool,
    /// For how long a password is valid after another took its place.
    pub overlap: Duration,
    pub now: Timestamp,
}

pub fn stage(contents: &Contents) -> Stage {
    let has = |ending: &str| contents.keys().any(|name| password_of(name, ending).is_some());
    match (has(NEXT), has(FORMER)) {
        (true, _) => Stage::Spreading,
        (false, true) => Stage::Settling,
        (false, false) => Stage::Idle,
    }
}

/// Whether this is the step that the Secret is at.
pub fn fits(change: Change, contents: &Contents) -> bool {
    stage(contents)
        == match change {
            Change::Begin => Stage::Idle,
            Change::Switch => Stage::Spreading,
            Change::End => Stage::Settling,
        }
}

/// The step that may be taken now.
pub fn next(situation: &Situation<'_>) -> Option<Change> {
    match stage(situation.contents) {
        Stage::Idle => is_asked_for(situation).then_some(Change::Begin),
        Stage::Spreading => situation.all_accept_next.then_some(Change::Switch),
        Stage::Settling => {
            let is_over =
                situation.since.is_none_or(|since| has_passed(since, situation.overlap, situation.now));
            (is_over && situation.all_moved).then_some(Change::End)
        }
    }
}

fn is_asked_for(situation: &Situation<'_>) -> bool {
    let by_hand = situation.request.is_some_and(|it| !it.is_empty() && situation.carried_out != Some(it));
    // Passwords that somebody else keeps are replaced by whoever keeps them.
    if let Some(outside) = situation.outside {
        return outside.iter().any(|(name, text)| situation.contents.get(name) != Some(text));
    }
    let by_age = situation
        .rotate_after
        .is_some_and(|after| situation.since.is_some_and(|since| has_passed(since, after, situation.now)));
    by_hand || by_age
}

fn has_passed(since: Timestamp, time: Duration, now: Timestamp) -> bool {
    let passed = now.as_second().saturating_sub(since.as_second());
    u64::try_from(passed).is_ok_and(|passed| passed >= time.as_secs())
}

/// What a step changes in the Secret: texts that are put in, and none for those that go.
pub fn patch(
    change: Change,
    tenant: &TenantName,
    contents: &Contents,
    needs: Needs,
    outside: Option<&Contents>,
) -> Result<BTreeMap<String, Option<String>>, NoRandomness> {
    let names = passwords(needs);
    let mut patch = BTreeMap::new();
    match change {
        Change::Begin => {
            for name in names {
                let next = match outside {
                    None => Some(generate(tenant, &name)?),
                    Some(outside) => {
                        outside.get(&name).filter(|text| contents.get(&name) != Some(*text)).cloned()
                    }
                };
                if let Some(next) = next {
                    patch.insert(format!("{name}{NEXT}"), Some(next));
                }
            }
        }
        Change::Switch => {
            for (next, text) in contents {
                if let Some(name) = password_of(next, NEXT) {
                    patch.insert(format!("{name}{FORMER}"), contents.get(name).cloned());
                    patch.insert(name.to_owned(), Some(text.clone()));
                    patch.insert(next.clone(), None);
                }
            }
        }
        Change::End => {
            let former = contents.keys().filter(|name| password_of(name, FORMER).is_some());
            patch.extend(former.map(|name| (name.clone(), None)));
        }
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use keystead_crds::Topology;
    use keystead_route::Algorithm;

    use super::*;
    use crate::tenant::credentials::{missing, read};

    const NEEDS: Needs = Needs {
        signing: Algorithm::EdDSA,
        encryption: None,
        topology: Topology::Cluster,
        app: false,
        webhooks: false,
    };

    fn tenant() -> TenantName {
        "shop".parse().unwrap()
    }

    fn contents() -> Contents {
        missing(&tenant(), &Contents::new(), NEEDS).unwrap()
    }

    #[test]
    fn a_user_whom_another_topology_has_taken_away_is_not_waited_for() {
        let needs = Needs { topology: Topology::Replicated, ..NEEDS };
        let mut contents = missing(&tenant(), &Contents::new(), needs).unwrap();
        for user in ["gateway", "keeper"] {
            contents.insert(format!("{user}-password{NEXT}"), "0123456789abcdef".into());
        }
        let next = read(&contents, needs).unwrap().next;
        assert_eq!(next.keys().collect::<Vec<_>>(), ["gateway"]);
    }

    fn situation(contents: &Contents) -> Situation<'_> {
        Situation {
            contents,
            request: None,
            carried_out: None,
            since: Some(at(1000)),
            rotate_after: None,
            outside: None,
            all_accept_next: false,
            all_moved: true,
            overlap: Duration::from_secs(100),
            now: at(1050),
        }
    }

    fn asked(contents: &Contents) -> Situation<'_> {
        Situation { request: Some("1"), ..situation(contents) }
    }

    fn done(contents: &Contents) -> Situation<'_> {
        Situation { carried_out: Some("1"), ..asked(contents) }
    }

    fn accepted(contents: &Contents) -> Situation<'_> {
        Situation { all_accept_next: true, ..done(contents) }
    }

    fn later(contents: &Contents) -> Situation<'_> {
        Situation { now: at(1100), ..accepted(contents) }
    }

    fn kept<'a>(contents: &'a Contents, outside: &'a Contents) -> Situation<'a> {
        Situation { outside: Some(outside), rotate_after: Some(Duration::ZERO), ..asked(contents) }
    }

    #[test]
    fn what_else_has_a_next_and_a_former_is_left_alone() {
        let mut contents = contents();
        let others = ["signing-hs256-next", "signing-hs256-former", "webhook-secret-former"];
        contents.extend(others.map(|name| (name.to_owned(), "of others".to_owned())));
        assert_eq!(stage(&contents), Stage::Idle);
        carry_out(&mut contents, Change::Begin, None);
        carry_out(&mut contents, Change::Switch, None);
        assert_eq!(stage(&contents), Stage::Settling);
        carry_out(&mut contents, Change::End, None);
        assert_eq!(stage(&contents), Stage::Idle);
        assert!(others.iter().all(|name| contents[*name] == "of others"));
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn carry_out(contents: &mut Contents, change: Change, outside: Option<&Contents>) {
        for (name, text) in patch(change, &tenant(), contents, NEEDS, outside).unwrap() {
            match text {
                Some(text) => contents.insert(name, text),
                None => contents.remove(&name),
            };
        }
    }

    /// Every password that Redis takes, by user.
    fn valid(contents: &Contents) -> Vec<String> {
        let credentials = read(contents, NEEDS).unwrap();
        let others = credentials.others.get("gateway-password").cloned().unwrap_or_default();
        [credentials.gateway_password].into_iter().chain(others).map(|it| it.expose().to_owned()).collect()
    }

    #[test]
    fn at_every_moment_what_is_used_is_valid_and_so_is_what_was_used_before_it() {
        let mut contents = contents();
        let first = valid(&contents);
        assert_eq!(next(&asked(&contents)), Some(Change::Begin));
        carry_out(&mut contents, Change::Begin, None);
        let both = valid(&contents);
        assert_eq!((both.len(), &both[0]), (2, &first[0]), "the first is used until all accept the next");

        assert_eq!(next(&done(&contents)), None);
        assert_eq!(next(&accepted(&contents)), Some(Change::Switch));
        carry_out(&mut contents, Change::Switch, None);
        assert_eq!(valid(&contents), [both[1].clone(), both[0].clone()]);

        assert_eq!(next(&accepted(&contents)), None, "not before the overlap is over");
        assert_eq!(next(&Situation { all_moved: false, ..later(&contents) }), None);
        assert_eq!(next(&later(&contents)), Some(Change::End));
        carry_out(&mut contents, Change::End, None);
        assert_eq!(valid(&contents), [both[1].clone()]);
        assert_eq!(next(&later(&contents)), None, "each request once");
        assert_eq!(stage(&contents), Stage::Idle);
    }

    #[test]
    fn every_user_gets_another_password() {
        let made = patch(Change::Begin, &tenant(), &contents(), NEEDS, None).unwrap();
        let users: Vec<&str> = made.keys().filter_map(|name| name.strip_suffix("-password-next")).collect();
        assert_eq!(users, ["cluster", "gateway", "monitor", "replication", "worker"]);
    }

    #[test]
    fn old_ones_are_replaced_by_age() {
        let contents = contents();
        let after = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(next(&Situation { rotate_after: after(51), ..situation(&contents) }), None);
        assert_eq!(next(&Situation { rotate_after: after(50), ..situation(&contents) }), Some(Change::Begin));
    }

    #[test]
    fn those_that_somebody_else_keeps_are_taken_over_when_they_change_and_never_made() {
        let mut contents = contents();
        let mut outside: Contents =
            passwords(NEEDS).into_iter().map(|name| (name.clone(), contents[&name].clone())).collect();
        assert_eq!(next(&kept(&contents, &outside)), None);
        outside.insert("worker-password".into(), "of the vault".into());
        assert_eq!(next(&kept(&contents, &outside)), Some(Change::Begin));
        carry_out(&mut contents, Change::Begin, Some(&outside));
        let next: Vec<_> = contents.iter().filter(|(name, _)| name.ends_with(NEXT)).collect();
        assert_eq!(next, [(&"worker-password-next".to_owned(), &"of the vault".to_owned())]);
    }
}
