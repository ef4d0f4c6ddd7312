//! The order of a rollout over shards: a table, and any mixture of states brought to its end in a world that behaves like a
//! cluster.

use proptest::prelude::*;

use super::*;
use crate::tenant::{names, rollout::reshape::Finished};

use Pod::{Absent, Ending, NotReady, Ready};
use Role::{Empty, InSync, Other, Primary};

type State = (Pod, Role, bool);

const OLD_PRIMARY: State = (Ready, Primary, true);
const OLD_REPLICA: State = (Ready, InSync, true);
const PRIMARY: State = (Ready, Primary, false);
const REPLICA: State = (Ready, InSync, false);
const NEW: State = (Ready, Empty, false);

fn members(shards: &[&[State]]) -> Vec<MemberState> {
    let member = |shard: usize, ordinal: usize, (pod, role, is_outdated): State| {
        let (shard, ordinal) = (u8::try_from(shard).unwrap(), u8::try_from(ordinal).unwrap());
        let name = names::shard_member(shard, ordinal);
        MemberState { name, shard: Some(shard), pod, role, is_outdated, trouble: None }
    };
    shards
        .iter()
        .enumerate()
        .flat_map(|(shard, states)| {
            states.iter().enumerate().map(move |(ordinal, state)| member(shard, ordinal, *state))
        })
        .collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn step(members: &[MemberState], lacks: Option<&str>, job: &Job) -> Next {
    next(&Situation {
        members,
        wanted: members.len(),
        lacks,
        has_open_slot: false,
        without_slots: &[],
        job,
        now: at(100),
    })
}

fn of(shards: &[&[State]]) -> Next {
    step(&members(shards), None, &Job::Absent)
}

fn replaced(name: &str) -> Next {
    Next::Members(Step::Replace(name.into()))
}

fn told(next: Next) -> String {
    match next {
        Next::Members(Step::Wait(wait)) => wait.what,
        other => panic!("{other:?}"),
    }
}

fn failed(attempt: u32) -> Job {
    Job::Finished(Finished { attempt, at: at(95), failure: Some("no".into()), is_outdated: false })
}

#[test]
fn replicas_of_all_shards_go_first_and_each_primary_once_a_replica_of_its_shard_can_take_over() {
    assert_eq!(of(&[&[PRIMARY, REPLICA], &[PRIMARY, REPLICA]]), Next::Members(Step::Done));
    assert_eq!(of(&[&[OLD_PRIMARY, OLD_REPLICA], &[OLD_PRIMARY, REPLICA]]), replaced("redis-shard-0-1"));
    assert_eq!(of(&[&[OLD_PRIMARY, REPLICA], &[PRIMARY, REPLICA]]), replaced("redis-shard-0-0"));
    let fetching = (Ready, Other, false);
    assert!(
        told(of(&[&[OLD_PRIMARY, fetching], &[PRIMARY, REPLICA]])).contains("redis-shard-0-1 to have all")
    );
}

#[test]
fn nobody_goes_while_a_member_of_any_shard_is_away() {
    let shards = |other: State| told(of(&[&[OLD_PRIMARY, OLD_REPLICA], &[PRIMARY, other]]));
    assert_eq!(shards((Absent, Other, false)), "waits for the pod redis-shard-1-1 to be made");
    assert_eq!(shards((Ending, InSync, true)), "waits for the pod redis-shard-1-1 to end");
    assert!(shards((NotReady, Other, false)).contains("redis-shard-1-1 to be ready"));
}

#[test]
fn a_shard_without_replicas_is_interrupted_and_that_is_said() {
    assert_eq!(of(&[&[OLD_PRIMARY], &[OLD_PRIMARY]]), replaced("redis-shard-1-0"));
    let waits = told(of(&[&[OLD_PRIMARY], &[(Absent, Other, false)]]));
    assert_eq!(
        waits,
        "waits for the pod redis-shard-1-0 to be made; its part of the data is away meanwhile, as redis.replicasPerShard is 0"
    );
}

#[test]
fn who_holds_nothing_or_never_started_may_always_be_replaced() {
    let old_and_empty = (Ready, Empty, true);
    assert_eq!(of(&[&[old_and_empty, old_and_empty], &[NEW, NEW]]), replaced("redis-shard-0-1"));
    let broken = (NotReady, Other, true);
    assert_eq!(of(&[&[PRIMARY, REPLICA], &[PRIMARY, broken]]), replaced("redis-shard-1-1"));
}

#[test]
fn the_job_begins_when_all_members_run_and_none_is_to_be_replaced() {
    let formed: &[&[State]] = &[&[PRIMARY, REPLICA], &[NEW, NEW]];
    let all = members(formed);
    assert_eq!(step(&all, Some("grow"), &Job::Absent), Next::Distribute);
    assert_eq!(step(&all, None, &Job::Absent), Next::Members(Step::Done));
    let missing = Situation {
        members: &all,
        wanted: 6,
        lacks: Some("grow"),
        has_open_slot: false,
        without_slots: &[],
        job: &Job::Absent,
        now: at(0),
    };
    assert_eq!(told(next(&missing)), "waits for the members to be made");
    let starting = members(&[&[PRIMARY, REPLICA], &[NEW, (NotReady, Other, false)]]);
    assert!(told(step(&starting, Some("grow"), &Job::Absent)).contains("redis-shard-1-1 to be ready"));
    let leaderless = members(&[&[(Ready, Other, false), (Ready, Other, false)], &[NEW, NEW]]);
    assert!(told(step(&leaderless, Some("grow"), &Job::Absent)).contains("redis-shard-0-0"));
    let outdated = members(&[&[PRIMARY, OLD_REPLICA], &[NEW, NEW]]);
    assert_eq!(step(&outdated, Some("grow"), &Job::Absent), replaced("redis-shard-0-1"));
}

#[test]
fn an_open_slot_is_closed_also_while_a_member_is_away() {
    let begins = |shards: &[&[State]], has_open_slot, without_slots: &[u8]| {
        let members = members(shards);
        next(&Situation {
            members: &members,
            wanted: members.len(),
            lacks: Some("finish the move of a slot"),
            has_open_slot,
            without_slots,
            job: &Job::Absent,
            now: at(0),
        })
    };
    let away = (Absent, Other, false);
    let shards: &[&[State]] = &[&[PRIMARY, away], &[PRIMARY, REPLICA], &[NEW, NEW]];
    assert_eq!(begins(shards, true, &[2]), Next::Distribute);
    assert!(told(begins(shards, false, &[2])).contains("redis-shard-0-1 to be made"));
    let headless: &[&[State]] = &[&[away, (Ready, Other, false)], &[PRIMARY, REPLICA]];
    assert!(
        told(begins(headless, true, &[])).contains("redis-shard-0-0 to be made"),
        "its keys cannot be reached"
    );
    // The first slot of a new shard: it has keys already, and owns nothing yet.
    let first: &[&[State]] = &[&[PRIMARY, REPLICA], &[(Ready, Other, false), (Ready, Other, false)]];
    assert_eq!(begins(first, true, &[1]), Next::Distribute);
    assert!(matches!(begins(first, true, &[]), Next::Members(Step::Wait(_))));
}

#[test]
fn while_the_job_runs_no_member_is_replaced() {
    let outdated = members(&[&[PRIMARY, OLD_REPLICA]]);
    assert_eq!(told(step(&outdated, Some("grow"), &Job::Runs)), "the Job redis-reshape runs, to grow");
    assert_eq!(told(step(&outdated, None, &Job::Ends)), "waits for the Job redis-reshape to end");
    assert_eq!(step(&outdated, None, &Job::Stuck), Next::GiveUp);
}

#[test]
fn a_job_that_failed_is_tried_again_after_a_while_also_when_nothing_seems_to_lack() {
    let all = members(&[&[PRIMARY, REPLICA]]);
    assert_eq!(
        told(step(&all, None, &failed(1))),
        "waits before the Job redis-reshape tries again to finish what was begun"
    );
    let later = |job: &Job, second| {
        next(&Situation {
            members: &all,
            wanted: 2,
            lacks: Some("grow"),
            has_open_slot: false,
            without_slots: &[],
            job,
            now: at(second),
        })
    };
    assert_eq!(later(&failed(1), 105), Next::Distribute);
    assert!(matches!(later(&failed(3), 134), Next::Members(Step::Wait(_))));
    assert_eq!(later(&failed(3), 135), Next::Distribute);
    assert_eq!(later(&failed(40), 395), Next::Distribute, "at most five minutes");
    let good = Job::Finished(Finished { attempt: 1, at: at(95), failure: None, is_outdated: false });
    assert_eq!(step(&all, None, &good), Next::Members(Step::Done));
    let outdated = members(&[&[PRIMARY, OLD_REPLICA]]);
    assert_eq!(step(&outdated, None, &failed(1)), replaced("redis-shard-0-1"), "that may mend it");
}

fn any_member() -> impl Strategy<Value = (Pod, bool, bool)> {
    let pod = prop_oneof![Just(Absent), Just(Ending), Just(NotReady), Just(Ready)];
    (pod, any::<bool>(), any::<bool>())
}

/// What a cluster does in a while by itself. What is outdated and has not started never will.
fn goes_on(members: &mut [MemberState]) {
    for at in 0..members.len() {
        let shard = members[at].shard;
        let has_primary = members.iter().any(|it| it.shard == shard && it.role == Primary);
        let state = &mut members[at];
        (state.pod, state.is_outdated) = match (state.pod, state.is_outdated) {
            (Ending, _) => (Absent, false),
            (Absent, _) => (NotReady, false),
            (NotReady, true) => (NotReady, true),
            (_, outdated) => (Ready, outdated),
        };
        state.role = match (state.pod, state.role) {
            (Ready, Primary) => Primary,
            (Ready, _) if has_primary => InSync,
            // The others vote for one that is up, or it comes back as what it was.
            (Ready, _) => Primary,
            _ => Other,
        };
    }
}

proptest! {
    #[test]
    fn from_any_mixture_of_states_it_ends_and_takes_down_one_at_a_time(
        shards in (0_usize..3, 3_usize..5).prop_flat_map(|(replicas, shards)| {
            prop::collection::vec(prop::collection::vec(any_member(), replicas + 1), shards)
        }),
    ) {
        let state = |(pod, in_sync, outdated): &(Pod, bool, bool), leads: bool| {
            let role = match pod {
                Ready if leads => Primary,
                Ready if *in_sync => InSync,
                _ => Other,
            };
            (*pod, role, *outdated && *pod != Absent)
        };
        let states: Vec<Vec<State>> = shards
            .iter()
            .map(|shard| shard.iter().enumerate().map(|(at, it)| state(it, at == 0)).collect())
            .collect();
        let mut members = members(&states.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for _ in 0..200 {
            match step(&members, None, &Job::Absent) {
                Next::Members(Step::Done) => {
                    prop_assert!(members.iter().all(|it| !it.is_outdated));
                    return Ok(());
                }
                Next::Members(Step::Wait(_)) => goes_on(&mut members),
                Next::Members(Step::Replace(name)) => {
                    let away = |it: &&MemberState| it.name != name && matches!(it.pod, Absent | Ending);
                    prop_assert!(!members.iter().any(|it| away(&it)), "two at a time: {members:?}");
                    let chosen = members.iter().position(|it| it.name == name).unwrap();
                    prop_assert!(members[chosen].is_outdated);
                    let serves = members[chosen].pod == Ready;
                    let lacking = members.iter().any(|it| it.pod != Ready || it.role == Other);
                    prop_assert!(!(serves && lacking), "one that serves, while another does not: {members:?}");
                    if members[chosen].role == Primary {
                        let shard = members[chosen].shard;
                        let of_shard = |it: &&MemberState| it.shard == shard;
                        let older = members.iter().filter(of_shard).any(|it| it.role == InSync && it.is_outdated);
                        prop_assert!(!older, "the primary before a replica: {members:?}");
                        let heir = members.iter().position(|it| it.shard == shard && it.role == InSync);
                        let alone = members.iter().filter(of_shard).count() == 1;
                        prop_assert!(heir.is_some() || alone, "the primary without an heir: {members:?}");
                        if let Some(heir) = heir {
                            members[heir].role = Primary;
                        }
                    }
                    members[chosen].role = Other;
                    members[chosen].pod = Ending;
                }
                other => prop_assert!(false, "there is nothing to distribute: {other:?}"),
            }
        }
        prop_assert!(false, "it does not end: {members:?}");
    }
}
