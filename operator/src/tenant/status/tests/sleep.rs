//! What is said of a tenant that sleeps.

use super::*;
use crate::tenant::sleep::{Sleep, Stage};

fn report_in(stage: Stage, observed: &Observed, spec: Value, previous: &TenantStatus) -> TenantStatus {
    let tenant = fixtures::tenant(spec);
    let sleep = Sleep { stage, since: at(0), due: Some(at(7200)), generation: Some(3), knocks: 0 };
    let valid = validate(&tenant, &fixtures::settings(), None).unwrap().sleeping(Some(sleep), true);
    report(&tenant, previous, &settled(observed, Some(&valid)), at(1))
}

/// Nothing runs, or the pods still end.
fn away(is_away: bool) -> Observed {
    let mut objects = Objects::new();
    seen(&mut objects, Kind::Namespace, "tenant-shop", &json!({}));
    let pods = i32::from(!is_away);
    let status = json!({ "observedGeneration": 1, "replicas": pods });
    for (kind, name) in [(Kind::StatefulSet, "redis"), (Kind::Deployment, "worker")] {
        seen(&mut objects, kind, name, &json!({ "spec": { "replicas": 0 }, "status": status }));
    }
    Observed::new(objects, &"shop".parse().unwrap(), "front")
}

fn spec() -> Value {
    json!({ "hibernation": { "idleAfter": "30m" } })
}

#[test]
fn one_that_sleeps_is_as_it_was_asked_for_once_its_pods_are_gone() {
    let awake = Case::new(true, true).report(&TenantStatus::default(), 0);
    let falling = report_in(Stage::Asleep, &away(false), spec(), &awake);
    assert_eq!(falling.phase, Some(Phase::Sleeping));
    assert_eq!(words(&falling)[0], "Ready=False FallingAsleep");

    let asleep = report_in(Stage::Asleep, &away(true), spec(), &falling);
    assert_eq!(
        words(&asleep),
        [
            "Ready=True Sleeping",
            "Reconciling=False Done",
            "Stalled=False NotStalled",
            "RedisAvailable=False Sleeping",
            "WorkerAvailable=False Sleeping",
            "RouteReady=True Written",
        ]
    );
    assert_eq!(
        find(&asleep, "Ready").message,
        "asleep, as nobody used it: its volumes are kept, and the first request wakes it, or the job that is due at 1970-01-01T02:00:00Z"
    );
    // Who was the primary is not forgotten.
    assert_eq!(asleep.redis.unwrap().primary.as_deref(), Some("redis-0"));
}

#[test]
fn one_that_is_suspended_in_its_sleep_says_that() {
    let spec = json!({ "hibernation": { "idleAfter": "30m" }, "suspend": true });
    let status = report_in(Stage::Asleep, &away(true), spec, &TenantStatus::default());
    assert_eq!(status.phase, Some(Phase::Suspended));
}

#[test]
fn one_that_wakes_is_no_failure_and_events_tell_of_each_turn() {
    let awake = Case::new(true, true).report(&TenantStatus::default(), 0);
    let asleep = report_in(Stage::Asleep, &away(true), spec(), &awake);
    let waking = report_in(Stage::Waking, &observed(false, false), spec(), &asleep);
    assert_eq!(waking.phase, Some(Phase::Updating));
    assert_eq!(words(&waking)[0], "Ready=False Waking");
    // Redis answers, and the worker still starts.
    let nearly = report_in(Stage::Awake, &observed(true, false), spec(), &waking);
    assert_eq!((nearly.phase, words(&nearly)[0].as_str()), (Some(Phase::Updating), "Ready=False Waking"));
    let ready = report_in(Stage::Awake, &observed(true, true), spec(), &nearly);
    assert_eq!(ready.phase, Some(Phase::Ready));

    let turns = [(&awake, &asleep), (&asleep, &waking), (&waking, &nearly), (&nearly, &ready)];
    let told = turns.map(|(from, to)| events(from, to));
    assert!(told.iter().flatten().all(|it| it.kind == EventType::Normal), "{told:?}");
    let reasons: Vec<&str> = told.iter().flatten().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons, ["Sleeping", "Waking", "Ready"]);
}
