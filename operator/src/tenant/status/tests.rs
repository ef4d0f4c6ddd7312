//! The status that people and kstatus read, from what was observed.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    cache::{Objects, Seen},
    fixtures,
    kinds::Kind,
    tenant::validate::{Invalid, validate},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn seen(objects: &mut Objects, kind: Kind, name: &str, extra: &Value) {
    let namespace = if kind == Kind::Namespace { Value::Null } else { json!("tenant-shop") };
    let mut body = json!({
        "metadata": { "name": name, "namespace": namespace, "uid": "u", "labels": { keystead_route::TENANT_LABEL: "shop" } },
    });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let (_, seen) = Seen::new(kind, body).unwrap();
    objects.insert(seen.key.clone(), Arc::new(seen));
}

/// A namespace with a Redis and a worker that are ready, or are not.
fn observed(redis: bool, worker: bool) -> Observed {
    let mut objects = Objects::new();
    seen(&mut objects, Kind::Namespace, "tenant-shop", &json!({}));
    let ready = i32::from(redis);
    let status = json!({ "observedGeneration": 1, "readyReplicas": ready, "currentRevision": "a", "updateRevision": "a" });
    seen(&mut objects, Kind::StatefulSet, "redis", &json!({ "spec": { "replicas": 1 }, "status": status }));
    let available = if worker { "True" } else { "False" };
    let status = json!({
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1,
        "conditions": [{ "type": "Available", "status": available }],
    });
    seen(&mut objects, Kind::Deployment, "worker", &json!({ "spec": { "replicas": 1 }, "status": status }));
    Observed::new(objects, &"shop".parse().unwrap(), "front")
}

struct Case {
    observed: Observed,
    spec: Value,
    route: bool,
    settled: bool,
    error: Option<Error>,
}

impl Case {
    fn new(redis: bool, worker: bool) -> Self {
        Self { observed: observed(redis, worker), spec: json!({}), route: true, settled: true, error: None }
    }

    fn report(&self, previous: &TenantStatus, now: i64) -> TenantStatus {
        let tenant = fixtures::tenant(self.spec.clone());
        let valid = validate(&tenant, &fixtures::settings(), None).unwrap();
        let outcome = Outcome {
            observed: &self.observed,
            valid: Some(&valid),
            route_is_ready: self.route,
            is_settled: self.settled,
            waits_for: None,
            error: self.error.as_ref(),
        };
        report(&tenant, previous, &outcome, at(now))
    }
}

fn find<'a>(status: &'a TenantStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|it| it.type_ == type_).unwrap()
}

fn words(status: &TenantStatus) -> Vec<String> {
    status.conditions.iter().map(|it| format!("{}={} {}", it.type_, it.status, it.reason)).collect()
}

#[test]
fn a_tenant_that_works_is_ready() {
    let status = Case::new(true, true).report(&TenantStatus::default(), 1);
    assert_eq!(status.phase, Some(Phase::Ready));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.endpoint.as_deref(), Some("/t/shop/api/v1"));
    assert_eq!(status.redis.as_ref().unwrap().primary.as_deref(), Some("redis-0"));
    assert_eq!(
        words(&status),
        [
            "Ready=True Ready",
            "Reconciling=False Done",
            "Stalled=False NotStalled",
            "RedisAvailable=True PodReady",
            "WorkerAvailable=True PodsAvailable",
            "RouteReady=True Written",
        ]
    );
}

#[test]
fn a_new_tenant_is_provisioned_and_says_what_it_waits_for() {
    let status =
        Case { route: false, settled: false, ..Case::new(false, false) }.report(&TenantStatus::default(), 1);
    assert_eq!(status.phase, Some(Phase::Provisioning));
    assert_eq!(
        find(&status, "Ready").message,
        "redis-0 is not ready; `kubectl describe pod` says why; the gateway has not been told yet; \
         too few pods are available; `kubectl describe pod` says why"
    );
    assert_eq!(find(&status, "Reconciling").status, "True");
}

#[test]
fn a_worker_that_is_away_does_not_hide_that_redis_is_there() {
    let before = Case::new(true, true).report(&TenantStatus::default(), 1);
    let status = Case::new(true, false).report(&before, 2);
    assert_eq!(status.phase, Some(Phase::Degraded));
    assert_eq!(find(&status, "RedisAvailable").status, "True");
    assert_eq!(find(&status, "Ready").reason, "WorkerNotAvailable");
}

#[test]
fn a_tenant_with_dead_pods_is_never_ready() {
    let before = Case::new(true, true).report(&TenantStatus::default(), 1);
    let status = Case::new(false, true).report(&before, 2);
    assert_eq!(status.phase, Some(Phase::Degraded));
    assert_eq!(find(&status, "Ready").reason, "RedisNotAvailable");
    assert_eq!(status.redis.unwrap().primary, None);
}

#[test]
fn a_change_that_is_under_way_is_an_update() {
    let before = Case::new(true, true).report(&TenantStatus::default(), 1);
    let mut case = Case::new(true, true);
    let mut objects = case.observed.objects.clone();
    let status =
        json!({ "observedGeneration": 1, "readyReplicas": 1, "currentRevision": "a", "updateRevision": "b" });
    seen(&mut objects, Kind::StatefulSet, "redis", &json!({ "spec": { "replicas": 1 }, "status": status }));
    case.observed = Observed::new(objects, &"shop".parse().unwrap(), "front");
    let status = case.report(&before, 2);
    assert_eq!(status.phase, Some(Phase::Updating));
    assert_eq!(find(&status, "Ready").message, "pods are being replaced");
}

#[test]
fn a_suspended_tenant_is_as_it_was_asked_for() {
    let case = Case { spec: json!({ "suspend": true }), ..Case::new(true, false) };
    let status = case.report(&TenantStatus::default(), 1);
    assert_eq!(status.phase, Some(Phase::Suspended));
    assert_eq!(
        (find(&status, "Ready").status.as_str(), find(&status, "Ready").reason.as_str()),
        ("True", "Suspended")
    );
    assert_eq!(find(&status, "WorkerAvailable").reason, "Suspended");
}

#[test]
fn a_wrong_spec_is_stalled_with_its_message() {
    let tenant = fixtures::tenant(json!({}));
    let before = Case::new(true, true).report(&TenantStatus::default(), 1);
    let error = Error::Invalid(Invalid::Range { field: "f", value: 0 });
    let outcome = Outcome {
        observed: &observed(true, true),
        valid: None,
        route_is_ready: true,
        is_settled: false,
        waits_for: None,
        error: Some(&error),
    };
    let status = report(&tenant, &before, &outcome, at(2));
    assert_eq!(status.phase, Some(Phase::Failed));
    assert_eq!(find(&status, "Stalled").status, "True");
    assert_eq!(find(&status, "Reconciling").status, "False");
    assert_eq!(find(&status, "Ready").message, "f is 0: it is out of range");
    assert_eq!(status.redis, before.redis, "what is running goes on");
}

#[test]
fn times_change_only_with_what_they_are_the_times_of() {
    let first = Case::new(true, true).report(&TenantStatus::default(), 1);
    let second = Case::new(true, true).report(&first, 9);
    assert_eq!(first, second, "an unchanged status is the same to the second");
    let third = Case::new(true, false).report(&second, 9);
    assert_eq!(find(&third, "Ready").last_transition_time.0, at(9));
    assert_eq!(find(&third, "RedisAvailable").last_transition_time.0, at(1));
}

#[test]
fn a_deletion_says_what_it_waits_for() {
    let tenant = fixtures::tenant(json!({}));
    let status = report_deletion(&tenant, &TenantStatus::default(), Some("waits for the pods"), None, at(1));
    assert_eq!(status.phase, Some(Phase::Deleting));
    assert_eq!(find(&status, "Reconciling").message, "waits for the pods");
    assert_eq!(find(&status, "Ready").status, "False");
}

#[test]
fn events_tell_of_transitions_and_are_not_repeated() {
    let new = TenantStatus::default();
    let ready = Case::new(true, true).report(&new, 1);
    let event = transition(&new, &ready).unwrap();
    assert_eq!((event.kind, event.reason.as_str()), (EventType::Normal, "Ready"));
    assert_eq!(transition(&ready, &ready), None);

    let degraded = Case::new(false, true).report(&ready, 2);
    let event = transition(&ready, &degraded).unwrap();
    assert_eq!((event.kind, event.reason.as_str()), (EventType::Warning, "RedisNotAvailable"));

    let stalled = |message: &str| {
        let error = Some(Error::Refused { what: "x".into(), message: message.into() });
        Case { error, ..Case::new(true, true) }.report(&ready, 3)
    };
    assert_eq!(transition(&stalled("a"), &stalled("a")), None);
    assert!(transition(&stalled("a"), &stalled("b")).unwrap().note.ends_with('b'));
}
