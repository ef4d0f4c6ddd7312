//! The status that people and kstatus read, from what was observed.

mod readers;
mod rollout;
mod sleep;
mod waiting;

use std::sync::Arc;

use keystead_crds::MemberRole;
use kube::runtime::events::EventType;
use serde_json::{Value, json};

use super::*;
use crate::{
    cache::{Objects, Seen},
    fixtures,
    kinds::Kind,
    tenant::{
        members::{
            Says,
            cluster::{
                View,
                tests::{Shard, formed, members as cluster_members, strangers},
            },
        },
        validate::{Invalid, Provisioned, validate},
    },
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
    waits_on: Option<&'static str>,
    waits_for_turn: bool,
    error: Option<Error>,
}

impl Case {
    fn new(redis: bool, worker: bool) -> Self {
        Self {
            observed: observed(redis, worker),
            spec: json!({}),
            route: true,
            settled: true,
            waits_on: None,
            waits_for_turn: false,
            error: None,
        }
    }

    fn report(&self, previous: &TenantStatus, now: i64) -> TenantStatus {
        let tenant = fixtures::tenant(self.spec.clone());
        let valid = validate(&tenant, &fixtures::settings(), None).unwrap();
        let outcome = Outcome {
            route_is_ready: self.route,
            is_settled: self.settled,
            waits_for: self.waits_for_turn.then_some("10 other tenants are being changed"),
            waits_on: self.waits_on,
            waits_for_turn: self.waits_for_turn,
            error: self.error.as_ref(),
            ..settled(&self.observed, Some(&valid))
        };
        report(&tenant, previous, &outcome, at(now))
    }
}

/// What comes of a pass that finds nothing to do.
fn settled<'a>(observed: &'a Observed, valid: Option<&'a ValidTenant>) -> Outcome<'a> {
    Outcome {
        observed,
        valid,
        route_is_ready: true,
        is_settled: true,
        waits_for: None,
        waits_on: None,
        waits_for_turn: false,
        error: None,
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
fn one_redis_that_is_asked_as_its_passwords_change_is_no_member_of_anything() {
    let mut case = Case::new(true, true);
    case.observed.members = replicated("P").observed.members;
    let redis = case.report(&TenantStatus::default(), 1).redis.unwrap();
    assert_eq!((redis.primary.as_deref(), redis.members), (Some("redis-0"), Vec::new()));
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
    let observed = observed(true, true);
    let outcome = Outcome { is_settled: false, error: Some(&error), ..settled(&observed, None) };
    let status = report(&tenant, &before, &outcome, at(2));
    assert_eq!(status.phase, Some(Phase::Failed));
    assert_eq!(find(&status, "Stalled").status, "True");
    assert_eq!(find(&status, "Reconciling").status, "False");
    assert_eq!(find(&status, "Ready").message, "f is 0: it is out of range");
    assert_eq!(status.redis, before.redis, "what is running goes on");
}

#[test]
fn a_tenant_whose_new_spec_is_refused_goes_on_and_says_so() {
    let wrong = || Some(Error::Invalid(Invalid::Range { field: "f", value: 0 }));
    let ready = Case::new(true, true).report(&TenantStatus::default(), 1);
    let refused = Case { error: wrong(), ..Case::new(false, true) }.report(&ready, 2);
    assert_eq!(refused.phase, Some(Phase::Failed));
    assert_eq!(find(&refused, "Ready").message, "f is 0: it is out of range");
    assert_eq!(words(&refused)[2..4], ["Stalled=True InvalidSpec", "RedisAvailable=False PodNotReady"]);
    assert_eq!(
        find(&refused, "Reconciling").message,
        "somebody has to change something first; the tenant goes on as of the spec that was accepted last"
    );
    let back = Case { error: wrong(), ..Case::new(true, true) }.report(&refused, 3);
    assert_eq!(find(&back, "RedisAvailable").status, "True", "the rest of the status does not stand still");
    assert_eq!(events(&refused, &back), []);
}

#[test]
fn a_version_that_the_table_has_lost_is_told_and_no_failure() {
    let tenant = fixtures::tenant(json!({ "redis": { "version": "6.2" } }));
    let there = Provisioned { version: "6.2", image: Some("mirror.test/redis:6.2"), has_written: true };
    let valid = validate(&tenant, &fixtures::settings(), Some(there)).unwrap();
    let status =
        report(&tenant, &TenantStatus::default(), &settled(&observed(true, true), Some(&valid)), at(1));
    assert_eq!(status.phase, Some(Phase::Ready));
    assert_eq!(
        find(&status, "Ready").message,
        "the tenant is served; the operator has no image for Redis 6.2 any more, so it stays on mirror.test/redis:6.2: \
         choose one of 7.0, 7.2 as redis.version"
    );
}

#[test]
fn what_ran_last_is_noted_until_something_else_does() {
    let version = |status: &TenantStatus| status.redis.clone().unwrap().data_version;
    let of = |ready: bool| {
        let mut case = Case::new(ready, true);
        let labels = json!({ keystead_route::TENANT_LABEL: "shop", names::VERSION_LABEL: "7.2" });
        let key = case.observed.get(Kind::StatefulSet, "redis").unwrap().key.clone();
        let mut body = case.observed.objects[&key].body.clone();
        body["metadata"]["labels"] = labels;
        case.observed.objects.insert(key, Arc::new(Seen::new(Kind::StatefulSet, body).unwrap().1));
        case
    };
    let began = of(false).report(&TenantStatus::default(), 1);
    assert_eq!(version(&began), None);
    let ready = of(true).report(&began, 2);
    assert_eq!(version(&ready).as_deref(), Some("7.2"));
    assert_eq!(version(&of(false).report(&ready, 3)).as_deref(), Some("7.2"), "its pod is away");
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
    let [event] = &events(&new, &ready)[..] else { panic!("one event") };
    assert_eq!((event.kind, event.reason.as_str()), (EventType::Normal, "Ready"));
    assert_eq!(events(&ready, &ready), []);

    let degraded = Case::new(false, true).report(&ready, 2);
    let [event] = &events(&ready, &degraded)[..] else { panic!("one event") };
    assert_eq!((event.kind, event.reason.as_str()), (EventType::Warning, "RedisNotAvailable"));

    let stalled = |message: &str| {
        let error = Some(Error::Refused { what: "x".into(), message: message.into() });
        Case { error, ..Case::new(true, true) }.report(&ready, 3)
    };
    assert_eq!(events(&stalled("a"), &stalled("a")), []);
    assert!(events(&stalled("a"), &stalled("b"))[0].note.ends_with('b'));
}

/// A Replicated tenant whose members say this of themselves: the first letter of each is P, R, S for syncing, or - for nothing.
fn replicated(roles: &str) -> Case {
    let mut objects = observed(true, true).objects;
    let set = json!({
        "spec": { "replicas": 3, "updateStrategy": { "type": "OnDelete" } },
        "status": { "observedGeneration": 1, "readyReplicas": 3, "updateRevision": "a" },
    });
    seen(&mut objects, Kind::StatefulSet, "redis", &set);
    let ip = |ordinal: usize| format!("10.3.2.{ordinal}");
    let primary = roles.find('P');
    let mut members = Vec::new();
    for (ordinal, role) in roles.chars().enumerate() {
        let name = names::member(u8::try_from(ordinal).unwrap());
        let labels = json!({ keystead_route::TENANT_LABEL: "shop", "controller-revision-hash": "a" });
        let pod = json!({
            "metadata": { "name": name, "namespace": "tenant-shop", "uid": "u", "labels": labels },
            "spec": { "containers": [{ "name": "redis" }, { "name": "sentinel" }] },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        seen(&mut objects, Kind::Pod, &name, &pod);
        let replica = |in_sync| Some(Says::Replica { in_sync, is_candidate: true });
        let says = match role {
            'P' => Some(Says::Primary { replicas: vec![(ip(1), 1), (ip(2), 7)] }),
            'R' => replica(true),
            'S' => replica(false),
            _ => None,
        };
        members.push(Member {
            name,
            ip: ip(ordinal),
            says,
            version: (role != '-').then(|| "7.2.4".into()),
            names: primary.map(ip),
            knows: None,
            accepts_next: false,
        });
    }
    let mut observed = Observed::new(objects, &"shop".parse().unwrap(), "front");
    observed.members = members;
    let spec = json!({ "redis": { "topology": "Replicated" } });
    Case { observed, spec, ..Case::new(true, true) }
}

#[test]
fn members_are_told_with_their_part_and_another_primary_with_its_reason() {
    let first = replicated("PRR").report(&TenantStatus::default(), 1);
    assert_eq!(first.phase, Some(Phase::Ready));
    let redis = first.redis.clone().unwrap();
    assert_eq!((redis.primary.as_deref(), redis.last_failover), (Some("redis-0"), None));
    let told: Vec<_> = redis.members.iter().map(|it| (it.name.as_str(), it.role, it.lag_seconds)).collect();
    assert_eq!(
        told,
        [
            ("redis-0", MemberRole::Primary, None),
            ("redis-1", MemberRole::Replica, Some(0)),
            ("redis-2", MemberRole::Replica, Some(10)),
        ]
    );
    assert_eq!(redis.members[2].version.as_deref(), Some("7.2.4"));

    let none = replicated("-RR").report(&first, 2);
    assert_eq!(none.phase, Some(Phase::Degraded));
    assert_eq!(find(&none, "RedisAvailable").reason, "NoPrimary");
    assert_eq!(none.redis.clone().unwrap().primary, None);

    let after = replicated("SPR").report(&none, 3);
    assert_eq!(find(&after, "RedisAvailable").status, "True");
    assert_eq!(
        (after.phase, find(&after, "Ready").reason.as_str()),
        (Some(Phase::Degraded), "MemberNotReady")
    );
    let failover = after.redis.clone().unwrap().last_failover.unwrap();
    assert_eq!((failover.from.as_str(), failover.to.as_str(), failover.at.0), ("redis-0", "redis-1", at(3)));
    assert_eq!(failover.reason, "Failover");
    assert_eq!(events(&none, &after)[0].note, "redis-1 takes the writes now, in the place of redis-0");

    let settled = replicated("RPR").report(&after, 4);
    assert_eq!(settled.phase, Some(Phase::Ready));
    assert!(events(&after, &settled).iter().all(|it| it.reason == "Ready"));
}

/// A Cluster tenant whose members say this.
fn clustered(shards: &[Shard]) -> Case {
    let mut objects = observed(true, true).objects;
    objects.retain(|key, _| key.name != "redis");
    for shard in shards {
        let set = json!({
            "spec": { "replicas": 2, "updateStrategy": { "type": "OnDelete" } },
            "status": { "observedGeneration": 1, "readyReplicas": 2, "updateRevision": "a" },
        });
        seen(&mut objects, Kind::StatefulSet, &names::shard(shard.number), &set);
    }
    let members = cluster_members(shards);
    for member in &members {
        let labels = json!({ keystead_route::TENANT_LABEL: "shop", "controller-revision-hash": "a" });
        let pod = json!({
            "metadata": { "name": member.name, "namespace": "tenant-shop", "uid": "u", "labels": labels },
            "status": { "conditions": [{ "type": "Ready", "status": if member.says.is_some() { "True" } else { "False" } }] },
        });
        seen(&mut objects, Kind::Pod, &member.name, &pod);
    }
    let mut observed = Observed::new(objects, &"shop".parse().unwrap(), "front");
    observed.members = members;
    let spec = json!({ "redis": { "topology": "Cluster", "shards": shards.len() } });
    Case { observed, spec, ..Case::new(true, true) }
}

#[test]
fn each_shard_has_its_primary_and_a_change_is_told_with_the_shard() {
    let first = clustered(&formed(3)).report(&TenantStatus::default(), 1);
    assert_eq!(first.phase, Some(Phase::Ready), "{first:?}");
    assert_eq!(find(&first, "RedisAvailable").message, "3 shards have a primary each");
    let redis = first.redis.clone().unwrap();
    assert_eq!((redis.shards, redis.primary, redis.ready_members), (Some(3), None, 6));
    assert_eq!(redis.primaries, ["redis-shard-0-0", "redis-shard-1-0", "redis-shard-2-0"]);
    let told: Vec<_> =
        redis.members.iter().map(|it| (it.shard.unwrap(), it.role, it.lag_seconds)).skip(2).take(2).collect();
    assert_eq!(told, [(1, MemberRole::Primary, None), (1, MemberRole::Replica, Some(0))]);

    let mut shards = formed(3);
    shards[1].primary = None;
    let none = clustered(&shards).report(&first, 2);
    assert_eq!(
        (none.phase, find(&none, "RedisAvailable").reason.as_str()),
        (Some(Phase::Degraded), "NoPrimary")
    );
    assert!(find(&none, "RedisAvailable").message.starts_with("shard 1 has no primary: "));
    assert_eq!(none.redis.as_ref().unwrap().primaries[1], "redis-shard-1-0", "it was the last");

    shards[1].primary = Some(1);
    let after = clustered(&shards).report(&none, 3);
    let failover = after.redis.clone().unwrap().last_failover.unwrap();
    assert_eq!((failover.shard, failover.reason.as_str()), (Some(1), "Failover"));
    assert_eq!(
        events(&none, &after)[0].note,
        "redis-shard-1-1 takes the writes of shard 1 now, in the place of redis-shard-1-0"
    );
}

#[test]
fn a_shard_that_holds_nothing_yet_leaves_the_others_available() {
    let before = clustered(&formed(3)).report(&TenantStatus::default(), 1);
    let mut shards = formed(3);
    shards.extend(strangers(4).split_off(3));
    let growing = Case { settled: false, ..clustered(&shards) }.report(&before, 2);
    assert_eq!(find(&growing, "RedisAvailable").status, "True");
    assert_eq!(growing.phase, Some(Phase::Updating));
    let redis = growing.redis.unwrap();
    assert_eq!((redis.shards, redis.members[6].role), (Some(3), MemberRole::Empty));
    let new = clustered(&strangers(3)).report(&TenantStatus::default(), 1);
    assert_eq!(find(&new, "RedisAvailable").reason, "NotFormed");
}

#[test]
fn a_part_of_the_data_that_nobody_has_any_more_is_told_once_all_have_answered() {
    let before = clustered(&formed(3)).report(&TenantStatus::default(), 1);
    let mut shards = formed(3);
    shards[1].primary = None;
    let mut case = clustered(&shards);
    assert_eq!(find(&case.report(&before, 2), "Stalled").status, "False", "they may come back with it");
    for (number, member) in case.observed.members[2..4].iter_mut().enumerate() {
        let alone = format!("{number:040} {}:6379@16379 myself,master - 0 0 0 connected", member.ip);
        member.knows = Some(View::parse(&alone, ""));
        member.says = Some(Says::Primary { replicas: Vec::new() });
    }
    let lost = case.report(&before, 3);
    assert_eq!(lost.phase, Some(Phase::Failed));
    assert_eq!(find(&lost, "Stalled").reason, "DataLost");
    assert!(
        find(&lost, "Ready").message.starts_with(
            "the data of 5461 of 16384 slots is gone: all members answer, and none has it. Shards without data: 1."
        ),
        "{:?}",
        find(&lost, "Ready")
    );
    let told = events(&before, &lost);
    assert!(told.iter().any(|it| it.reason == "DataLost" && it.kind == EventType::Warning), "{told:?}");
}

#[test]
fn a_job_that_failed_is_told_with_its_reason_once() {
    let mut case = Case { settled: false, ..clustered(&formed(3)) };
    let failed = json!({
        "type": "Failed", "status": "True", "message": "too often", "lastTransitionTime": "1970-01-01T00:00:00Z",
    });
    seen(
        &mut case.observed.objects,
        Kind::Job,
        "redis-reshape",
        &json!({ "status": { "conditions": [failed] } }),
    );
    let status = case.report(&TenantStatus::default(), 1);
    assert_eq!(find(&status, "Reconciling").reason, "ReshapeFailed");
    assert_eq!(
        find(&status, "Reconciling").message,
        "redis-reshape failed (attempt 1): too often; it is tried again"
    );
    let told = |before: &TenantStatus| {
        events(before, &status).iter().filter(|it| it.reason == "ReshapeFailed").count()
    };
    assert_eq!((told(&TenantStatus::default()), told(&status)), (1, 0));
}
