use keystead_route::Schedule;
use proptest::prelude::*;

use super::*;

const IDLE_AFTER: Duration = Duration::from_mins(30);
/// Some time.
const NOON: i64 = 1_700_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOON + second).unwrap()
}

fn sleep(stage: Stage, since: i64) -> Sleep {
    Sleep::new(stage, at(since))
}

/// An idle tenant that was used last at `used`, seen at `now`.
fn idle(used: Option<i64>, now: i64) -> Idle {
    Idle { at: at(now), asked: at(now), used: used.map(at), is_busy: false, due: None }
}

fn situation(idle: Option<Idle>, now: i64) -> Situation<'static> {
    Situation {
        idle_after: Some(IDLE_AFTER),
        is_suspended: false,
        is_settled: true,
        schedules: Some(&[]),
        generation: Some(3),
        calls: Calls::default(),
        idle,
        serves: true,
        now: at(now),
    }
}

const PROVEN: Calls = Calls { proven: true, owed: false };
const OWED: Calls = Calls { proven: false, owed: true };

fn stage(before: &Sleep, situation: &Situation<'_>) -> Stage {
    next(Some(before), situation).unwrap().stage
}

#[test]
fn gateways_note_as_often_as_is_waited_for() {
    assert_eq!(NOTED_EVERY, keystead_kv::activity::NOTED_EVERY);
}

#[test]
fn it_rests_when_nobody_has_used_it_for_the_time_and_the_minute_in_which_that_may_not_be_noted() {
    let awake = sleep(Stage::Awake, 0);
    let seen = |used: Option<i64>, now| stage(&awake, &situation(Some(idle(used, now)), now));
    assert_eq!(seen(Some(100), 100 + 1800 + 59), Stage::Awake);
    assert_eq!(seen(Some(100), 100 + 1800 + 60), Stage::Drowsy);
    // One that was never used has been awake for that long.
    assert_eq!(seen(None, 1859), Stage::Awake);
    assert_eq!(seen(None, 1860), Stage::Drowsy);
    // Neither is what happened before it was woken.
    assert_eq!(seen(Some(-9000), 1859), Stage::Awake);
    // Who does not answer may be at work.
    assert_eq!(stage(&awake, &situation(None, 90_000)), Stage::Awake);
    let unsettled = Situation { is_settled: false, ..situation(Some(idle(None, 9000)), 9000) };
    assert_eq!(stage(&awake, &unsettled), Stage::Awake);
}

#[test]
fn jobs_keep_it_awake_as_long_as_somebody_runs_them() {
    let awake = sleep(Stage::Awake, 0);
    let busy = Idle { is_busy: true, ..idle(None, 9000) };
    let soon = Idle { due: Some(at(9000 + 1800)), ..idle(None, 9000) };
    let late = Idle { due: Some(at(9000 + 1801)), ..idle(None, 9000) };
    for (seen, expected) in [(busy, Stage::Awake), (soon, Stage::Awake), (late, Stage::Drowsy)] {
        assert_eq!(stage(&awake, &situation(Some(seen), 9000)), expected, "{seen:?}");
        let without = Situation { schedules: None, ..situation(Some(seen), 9000) };
        assert_eq!(stage(&awake, &without), Stage::Drowsy, "{seen:?}");
    }
}

#[test]
fn whoever_comes_before_its_pods_end_keeps_it_awake() {
    let drowsy = sleep(Stage::Drowsy, 9000);
    let quiet = situation(Some(idle(Some(0), 9006)), 9006);
    assert_eq!(stage(&drowsy, &quiet), Stage::Asleep);
    for calls in [PROVEN, OWED] {
        assert_eq!(stage(&drowsy, &Situation { calls, ..quiet }), Stage::Awake);
    }
    assert_eq!(stage(&drowsy, &situation(Some(idle(Some(8999), 9006)), 9006)), Stage::Awake);
    // Not before the gateways have heard of it, nor by what was said before.
    assert_eq!(stage(&drowsy, &situation(Some(idle(Some(0), 9004)), 9004)), Stage::Drowsy);
    assert_eq!(stage(&drowsy, &situation(Some(idle(Some(0), 9004)), 9006)), Stage::Drowsy);
}

#[test]
fn an_answer_that_comes_late_does_not_keep_it_awake_for_as_long_again() {
    let drowsy = sleep(Stage::Drowsy, 9000);
    let quiet = situation(Some(idle(Some(0), 9059)), 9059);
    let unsettled = Situation { is_settled: false, ..quiet };
    for uncertain in [Situation { idle: None, ..quiet }, unsettled] {
        assert_eq!(stage(&drowsy, &uncertain), Stage::Drowsy);
        assert_eq!(look_again(&drowsy, &uncertain), Some(Duration::from_secs(1)));
        assert_eq!(stage(&drowsy, &Situation { calls: OWED, ..uncertain }), Stage::Awake);
        assert_eq!(stage(&drowsy, &Situation { now: at(9060), ..uncertain }), Stage::Awake);
    }
    assert_eq!(stage(&drowsy, &quiet), Stage::Asleep);
    let used = Situation { idle: Some(idle(Some(8999), 9059)), ..unsettled };
    assert_eq!(stage(&drowsy, &used), Stage::Awake);
}

#[test]
fn it_remembers_what_is_due_and_wakes_for_it() {
    let cron = "0 3 * * *".parse().unwrap();
    let schedules = [Schedule {
        name: "nightly".into(),
        cron,
        kind: "kv.export".into(),
        payload: serde_json::Value::Null,
    }];
    let drowsy = sleep(Stage::Drowsy, 0);
    let seen = Idle { due: Some(at(200_000)), ..idle(None, 6) };
    let by_queue = next(Some(&drowsy), &situation(Some(seen), 6)).unwrap();
    assert_eq!(by_queue.due, Some(at(200_000)));
    let with_schedule = Situation { schedules: Some(&schedules), ..situation(Some(seen), 6) };
    let asleep = next(Some(&drowsy), &with_schedule).unwrap();
    // 2023-11-14T22:13:20Z is noon here.
    assert_eq!(asleep.due, Some("2023-11-15T03:00:00Z".parse().unwrap()));
    let second = asleep.due.unwrap().as_second() - NOON;
    assert_eq!(stage(&asleep, &situation(None, second - 1)), Stage::Asleep);
    assert_eq!(stage(&asleep, &situation(None, second)), Stage::Waking);
    let suspended = Situation { is_suspended: true, ..situation(None, second) };
    assert_eq!(stage(&asleep, &suspended), Stage::Asleep);
    let wait = look_again(&asleep, &situation(None, second - 100)).unwrap();
    assert_eq!(wait, Duration::from_secs(100));
}

#[test]
fn a_request_or_a_changed_spec_wakes_it_and_it_is_awake_when_redis_answers() {
    let asleep = Sleep { generation: Some(3), ..sleep(Stage::Asleep, 0) };
    assert_eq!(stage(&asleep, &situation(None, 100)), Stage::Asleep);
    assert_eq!(look_again(&asleep, &situation(None, 100)), None);
    assert_eq!(stage(&asleep, &Situation { calls: PROVEN, ..situation(None, 100) }), Stage::Waking);
    assert_eq!(stage(&asleep, &Situation { generation: Some(4), ..situation(None, 100) }), Stage::Waking);
    let waking = sleep(Stage::Waking, 100);
    assert_eq!(stage(&waking, &Situation { serves: false, ..situation(None, 101) }), Stage::Waking);
    assert_eq!(stage(&waking, &situation(None, 103)), Stage::Awake);
}

#[test]
fn strangers_wake_it_less_and_less_often_until_somebody_uses_it() {
    let mut asleep = Sleep { generation: Some(3), ..sleep(Stage::Asleep, 0) };
    for (knocks, shut) in [(1, 0), (2, 2 * 1800), (3, 4 * 1800), (4, 8 * 1800), (5, 8 * 1800)] {
        if shut > 0 {
            let early = Situation { calls: OWED, ..situation(None, shut - 1) };
            assert_eq!(stage(&asleep, &early), Stage::Asleep, "{knocks}");
            assert_eq!(look_again(&asleep, &early), Some(Duration::from_secs(1)));
            // Who has shown a proof never waits for that.
            assert_eq!(stage(&asleep, &Situation { calls: PROVEN, ..early }), Stage::Waking);
        }
        let waking = next(Some(&asleep), &Situation { calls: OWED, ..situation(None, shut) }).unwrap();
        assert_eq!((waking.stage, waking.knocks), (Stage::Waking, knocks));
        asleep = Sleep { knocks, ..asleep };
    }
    let awake = Sleep { knocks: 4, ..sleep(Stage::Awake, 0) };
    let fell = |used| next(Some(&awake), &situation(Some(idle(used, 90_000)), 90_000)).unwrap().knocks;
    assert_eq!((fell(Some(-5)), fell(None)), (4, 4));
    assert_eq!((fell(Some(0)), fell(Some(5))), (0, 0), "also in the second in which it woke");
}

#[test]
fn one_that_is_not_to_sleep_any_more_is_woken_and_then_never_asked_again() {
    let never = |serves| Situation { idle_after: None, serves, ..situation(None, 9000) };
    assert_eq!(next(None, &never(true)), None);
    assert_eq!(next(Some(&sleep(Stage::Awake, 0)), &never(true)), None);
    assert_eq!(next(Some(&sleep(Stage::Drowsy, 0)), &never(true)), None);
    assert_eq!(next(Some(&sleep(Stage::Asleep, 0)), &never(false)).unwrap().stage, Stage::Waking);
    assert_eq!(next(Some(&sleep(Stage::Waking, 0)), &never(false)).unwrap().stage, Stage::Waking);
    assert_eq!(next(Some(&sleep(Stage::Waking, 0)), &never(true)), None);
}

#[test]
fn it_is_looked_at_when_it_may_have_been_idle_for_long_enough() {
    let awake = sleep(Stage::Awake, 0);
    let wait = |seen, now| look_again(&awake, &situation(seen, now)).unwrap().as_secs();
    assert_eq!(wait(Some(idle(Some(1000), 2500)), 2500), 360);
    assert_eq!(wait(Some(idle(Some(1000), 1000)), 1000), 600);
    assert_eq!(wait(Some(idle(Some(1000), 2859)), 2859), 15);
    assert_eq!(wait(Some(Idle { is_busy: true, ..idle(None, 0) }), 0), 60);
    assert_eq!(wait(None, 0), 15);
}

#[test]
fn it_is_kept_in_an_annotation_in_which_a_person_can_read_it() {
    let asleep = Sleep { due: Some(at(60)), generation: Some(3), knocks: 1, ..sleep(Stage::Asleep, 0) };
    let text = serde_json::to_string(&asleep).unwrap();
    assert_eq!(
        text,
        r#"{"stage":"Asleep","since":"2023-11-14T22:13:20Z","due":"2023-11-14T22:14:20Z","generation":3,"knocks":1}"#
    );
    assert_eq!(serde_json::from_str::<Sleep>(&text).unwrap(), asleep);
}

fn any_situation() -> impl Strategy<Value = (Situation<'static>, Stage)> {
    let stages =
        prop_oneof![Just(Stage::Awake), Just(Stage::Drowsy), Just(Stage::Asleep), Just(Stage::Waking)];
    let seen = proptest::option::of((
        proptest::option::of(0_i64..9000),
        any::<bool>(),
        proptest::option::of(0_i64..20_000),
    ));
    (stages, seen, any::<[bool; 6]>(), 0_i64..9000).prop_map(|(stage, seen, flags, now)| {
        let idle = seen.map(|(used, is_busy, due)| Idle { is_busy, due: due.map(at), ..idle(used, now) });
        let [is_suspended, is_settled, has_worker, proven, owed, serves] = flags;
        let calls = Calls { proven, owed };
        let schedules = has_worker.then_some(&[][..]);
        (Situation { is_suspended, is_settled, schedules, calls, serves, ..situation(idle, now) }, stage)
    })
}

proptest! {
    /// Its pods end only where gateways were told before, nobody called, and Redis has just said that it was idle.
    #[test]
    fn nothing_is_put_to_sleep_that_may_be_in_use((situation, stage) in any_situation(), since in 0_i64..9000) {
        let before = sleep(stage, since);
        let after = next(Some(&before), &situation).unwrap();
        if after.stage == Stage::Asleep && stage != Stage::Asleep {
            prop_assert_eq!(stage, Stage::Drowsy);
            prop_assert!(situation.calls == Calls::default() && situation.is_settled);
            let idle = situation.idle.unwrap();
            prop_assert!(idle.used.is_none_or(|used| later(used, IDLE_AFTER) <= situation.now));
            prop_assert!(!idle.is_busy || situation.schedules.is_none());
        }
    }

    /// Who has shown a proof is never left waiting for one that is not suspended.
    #[test]
    fn a_proven_call_leads_to_an_awake_tenant((situation, stage) in any_situation(), since in 0_i64..9000) {
        let situation = Situation { calls: PROVEN, is_suspended: false, serves: true, idle: None, ..situation };
        let mut sleep = sleep(stage, since);
        for _ in 0..2 {
            sleep = next(Some(&sleep), &situation).unwrap();
        }
        prop_assert_eq!(sleep.stage, Stage::Awake);
    }
}
