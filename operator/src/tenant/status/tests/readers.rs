//! What is said of Redis that only answer reads.

use super::*;

/// A tenant that works and wants two readers at least, of which so many are ready; none: they are not made yet.
fn report_with(ready: Option<i32>, spec: Value, previous: &TenantStatus) -> TenantStatus {
    let mut case = replicated("PRR");
    case.spec = spec;
    if let Some(ready) = ready {
        let status = json!({ "observedGeneration": 1, "readyReplicas": ready });
        let set = json!({ "spec": { "replicas": 2 }, "status": status });
        seen(&mut case.observed.objects, Kind::StatefulSet, "redis-readers", &set);
    }
    case.report(previous, 1)
}

fn spec() -> Value {
    json!({ "redis": { "topology": "Replicated" }, "autoscaling": { "readers": { "minReplicas": 2 } } })
}

#[test]
fn readers_that_lack_are_told_and_the_tenant_is_ready_nevertheless() {
    for ready in [None, Some(0), Some(1)] {
        let status = report_with(ready, spec(), &TenantStatus::default());
        let readers = find(&status, "ReadersAvailable");
        assert_eq!(
            (readers.status.as_str(), readers.reason.as_str()),
            ("False", "PodsNotReady"),
            "{ready:?}"
        );
        assert!(readers.message.contains("fewer than 2 readers are ready"), "{}", readers.message);
        assert_eq!((status.phase, find(&status, "Ready").status.as_str()), (Some(Phase::Ready), "True"));
    }
}

#[test]
fn as_many_as_there_ought_to_be_are_enough_however_many_the_load_may_bring() {
    for ready in [2, 3] {
        let status = report_with(Some(ready), spec(), &TenantStatus::default());
        let readers = find(&status, "ReadersAvailable");
        assert_eq!((readers.status.as_str(), readers.reason.as_str()), ("True", "PodsReady"), "{ready}");
    }
}

#[test]
fn of_a_tenant_that_wants_none_nothing_is_said_any_more() {
    let wanted = report_with(Some(2), spec(), &TenantStatus::default());
    let status = report_with(None, json!({ "redis": { "topology": "Replicated" } }), &wanted);
    assert!(!words(&status).iter().any(|it| it.starts_with("ReadersAvailable")), "{:?}", words(&status));
}
