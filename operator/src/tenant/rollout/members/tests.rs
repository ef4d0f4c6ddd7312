//! The order of a rollout: a table, and any mixture of states brought to its end in a world that behaves like a cluster.

use proptest::prelude::*;

use super::*;

fn member(ordinal: usize, pod: Pod, role: Role, is_outdated: bool) -> MemberState {
    MemberState { name: format!("redis-{ordinal}"), shard: None, pod, role, is_outdated, trouble: None }
}

fn members<const N: usize>(states: [(Pod, Role, bool); N]) -> Vec<MemberState> {
    let state = |(ordinal, (pod, role, outdated))| member(ordinal, pod, role, outdated);
    states.into_iter().enumerate().map(state).collect()
}

fn replace(ordinal: usize) -> Next {
    Next::Replace(format!("redis-{ordinal}"))
}

fn told(next: Next) -> String {
    match next {
        Next::Wait(wait) => wait.what,
        other => panic!("{other:?}"),
    }
}

use Pod::{Absent, Ending, NotReady, Ready, Running};
use Role::{InSync, Other, Primary, Single};

#[test]
fn replicas_go_first_the_last_of_them_foremost_and_the_primary_at_the_end() {
    let old = |role| (Ready, role, true);
    let new = |role| (Ready, role, false);
    assert_eq!(next(&members([new(Primary), new(InSync), new(InSync)])), Next::Done);
    assert_eq!(next(&members([old(Primary), old(InSync), old(InSync)])), replace(2));
    assert_eq!(next(&members([old(InSync), old(Primary), new(InSync)])), replace(0));
    assert_eq!(next(&members([old(Primary), new(InSync), new(InSync)])), replace(0));
}

#[test]
fn nobody_goes_while_another_is_away_or_lacks_something() {
    let rest = |third: (Pod, Role, bool)| members([(Ready, Primary, true), (Ready, InSync, true), third]);
    assert_eq!(told(next(&rest((Absent, Other, false)))), "waits for the pod redis-2 to be made");
    assert_eq!(told(next(&rest((Ending, InSync, true)))), "waits for the pod redis-2 to end");
    assert!(told(next(&rest((NotReady, Other, false)))).contains("redis-2 to be ready"));
    assert!(told(next(&rest((Ready, Other, false)))).contains("redis-2 to have all that the primary has"));
    let alone = members([(Ready, Primary, true), (Ready, Other, false), (Ready, Other, false)]);
    assert!(told(next(&alone)).contains("redis-1 to have all"));
}

#[test]
fn why_a_member_may_never_come_up_is_told_at_once() {
    let mut states = members([(Ready, Primary, true), (NotReady, Other, false), (Ready, InSync, false)]);
    states[1].trouble = Some("ImagePullBackOff".into());
    assert!(told(next(&states)).starts_with("waits for redis-1 to be ready (ImagePullBackOff); "));
}

#[test]
fn it_is_told_for_whom_a_rollout_waits() {
    let member = |states| match next(&members(states)) {
        Next::Wait(wait) => wait.member,
        other => panic!("{other:?}"),
    };
    let waits = member([(Ready, Primary, true), (NotReady, Other, false), (Ready, InSync, false)]);
    assert_eq!(waits.as_deref(), Some("redis-1"));
    let alone = next(&members([(Ready, Primary, true)]));
    assert!(matches!(alone, Next::Wait(Wait { member: None, .. })), "{alone:?}");
}

#[test]
fn one_that_cannot_start_as_it_is_may_be_mended() {
    let stuck = members([(Ready, Primary, false), (Ready, InSync, false), (NotReady, Other, true)]);
    assert_eq!(next(&stuck), replace(2));
    let half = |role| members([(Ready, Primary, false), (Running, role, true), (Ready, InSync, false)]);
    assert_eq!(next(&half(InSync)), replace(1), "its Sentinel does not work");
    let primary = members([(Running, Primary, true), (Ready, InSync, false), (Ready, InSync, false)]);
    assert_eq!(next(&primary), replace(0));
    let never_started = members([(NotReady, Other, true), (NotReady, Other, true), (NotReady, Other, true)]);
    assert_eq!(next(&never_started), replace(2));
}

#[test]
fn the_single_redis_of_before_is_replaced_although_the_others_wait_for_it() {
    let growing = |first| members([first, (Running, Other, false), (Running, Other, false)]);
    assert_eq!(next(&growing((Ready, Single, true))), replace(0));
    let too_early = members([(Ready, Single, true), (Running, Other, false), (NotReady, Other, false)]);
    assert!(
        told(next(&too_early)).contains("redis-2 to be ready"),
        "it would take the tenant down for nothing"
    );
    assert!(told(next(&growing((Ending, Single, true)))).contains("redis-0 to end"));
}

fn any_member() -> impl Strategy<Value = (Pod, bool, bool)> {
    let pod = prop_oneof![Just(Absent), Just(Ending), Just(NotReady), Just(Running), Just(Ready)];
    (pod, any::<bool>(), any::<bool>())
}

/// What a cluster does in a while by itself. What is outdated and has not started never will.
fn goes_on(members: &mut [MemberState]) {
    for at in 0..members.len() {
        let has_primary = members.iter().any(|it| it.role == Primary);
        let state = &mut members[at];
        (state.pod, state.is_outdated) = match (state.pod, state.is_outdated) {
            (Ending, _) => (Absent, false),
            (Absent, _) => (NotReady, false),
            (NotReady, true) => (NotReady, true),
            (NotReady | Running | Ready, outdated) => (Ready, outdated),
        };
        state.role = match (state.pod, state.role) {
            (Ready, Primary) => Primary,
            (Ready, _) if has_primary => InSync,
            _ => Other,
        };
    }
    // The Sentinels name another as long as one can be.
    if !members.iter().any(|it| it.role == Primary)
        && let Some(next) = members.iter_mut().find(|it| it.pod == Ready)
    {
        next.role = Primary;
    }
}

proptest! {
    #[test]
    fn from_any_mixture_of_states_it_ends_and_takes_down_one_at_a_time(
        states in prop_oneof![
            prop::collection::vec(any_member(), 3),
            prop::collection::vec(any_member(), 5),
        ],
        primary in 0_usize..5,
    ) {
        let mut members: Vec<MemberState> = states
            .into_iter()
            .enumerate()
            .map(|(ordinal, (pod, in_sync, outdated))| {
                let role = match pod {
                    Ready if ordinal == primary => Primary,
                    Ready if in_sync => InSync,
                    _ => Other,
                };
                member(ordinal, pod, role, outdated && pod != Absent)
            })
            .collect();
        for _ in 0..100 {
            match next(&members) {
                Next::Done => {
                    prop_assert!(members.iter().all(|it| !it.is_outdated));
                    return Ok(());
                }
                Next::Wait(_) => goes_on(&mut members),
                Next::Replace(name) => {
                    let away = |it: &&MemberState| it.name != name && matches!(it.pod, Absent | Ending);
                    prop_assert!(!members.iter().any(|it| away(&it)), "two at a time: {members:?}");
                    let chosen = members.iter().position(|it| it.name == name).unwrap();
                    prop_assert!(members[chosen].is_outdated);
                    let serves = members[chosen].pod == Ready;
                    let lacking = members.iter().any(|it| it.pod != Ready || it.role == Other);
                    prop_assert!(!(serves && lacking), "one that serves, while another does not: {members:?}");
                    if members[chosen].role == Primary {
                        let older = members.iter().any(|it| it.role == InSync && it.is_outdated);
                        prop_assert!(!older, "the primary before a replica: {members:?}");
                        let heir = members.iter().position(|it| it.role == InSync);
                        prop_assert!(heir.is_some(), "the primary without an heir: {members:?}");
                        members[heir.unwrap_or_default()].role = Primary;
                    }
                    members[chosen].role = Other;
                    members[chosen].pod = Ending;
                }
            }
        }
        prop_assert!(false, "it does not end: {members:?}");
    }
}
