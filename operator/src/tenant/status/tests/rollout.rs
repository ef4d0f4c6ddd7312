//! What is said of a rollout that has stopped.

use super::{super::events::Transition, *};

/// Long before anything else here.
const READY_AT: i64 = 1;
/// When the pod was made that does not come back.
const MADE_AT: i64 = 1000;

fn put_pod(case: &mut Case, name: &str, revision: &str, is_ready: bool) {
    let labels = json!({ keystead_route::TENANT_LABEL: "shop", "controller-revision-hash": revision });
    let pod = json!({
        "metadata": {
            "name": name, "namespace": "tenant-shop", "uid": "u", "labels": labels,
            "creationTimestamp": at(MADE_AT).to_string(),
        },
        "spec": { "containers": [{ "name": "redis" }, { "name": "sentinel" }] },
        "status": { "conditions": [{ "type": "Ready", "status": if is_ready { "True" } else { "False" } }] },
    });
    seen(&mut case.observed.objects, Kind::Pod, name, &pod);
}

/// Redis 2 of three was replaced, and is not ready.
fn stuck() -> Case {
    let mut case = Case { settled: false, waits_on: Some("redis-2"), ..replicated("PR-") };
    put_pod(&mut case, "redis-1", "former", true);
    put_pod(&mut case, "redis-2", "a", false);
    case
}

fn reasons(events: &[Transition]) -> Vec<&str> {
    events.iter().map(|it| it.reason.as_str()).collect()
}

#[test]
fn a_member_that_does_not_come_back_is_told_after_ten_minutes_and_once() {
    let ready = replicated("PRR").report(&TenantStatus::default(), READY_AT);
    let begun = stuck().report(&ready, MADE_AT);
    assert_eq!(begun.phase, Some(Phase::Updating));
    let waits = stuck().report(&begun, MADE_AT + 599);
    assert_eq!(
        (waits.phase, find(&waits, "Reconciling").reason.as_str()),
        (Some(Phase::Updating), "InProgress")
    );

    let stopped = stuck().report(&waits, MADE_AT + 600);
    assert_eq!(stopped.phase, Some(Phase::Degraded));
    assert_eq!(words(&stopped)[..2], ["Ready=False RolloutStopped", "Reconciling=True RolloutStopped"]);
    let message = "the rollout has stopped: redis-2 has not become ready within 10 minutes; `kubectl describe pod` says why. \
                   Correct the spec, such as the image; the rest is left as it is and serves on";
    assert_eq!(find(&stopped, "Reconciling").message, message);
    let news = events(&waits, &stopped);
    assert_eq!(reasons(&news), ["RolloutStopped"]);
    assert_eq!((news[0].kind, news[0].note.as_str()), (EventType::Warning, message));

    let later = stuck().report(&stopped, MADE_AT + 9000);
    assert_eq!(later, stopped);
    assert_eq!(events(&stopped, &later), []);

    // Another spec: the pod is to be replaced once more.
    let mut mended = stuck();
    put_pod(&mut mended, "redis-2", "wrong", false);
    let mended = mended.report(&later, MADE_AT + 9001);
    assert_eq!(
        (mended.phase, find(&mended, "Reconciling").reason.as_str()),
        (Some(Phase::Updating), "InProgress")
    );
}

#[test]
fn a_member_that_was_ready_until_now_has_its_time() {
    let ready = replicated("PRR").report(&TenantStatus::default(), READY_AT);
    let fell = stuck().report(&ready, MADE_AT + 5000);
    let soon = stuck().report(&fell, MADE_AT + 5599);
    assert_eq!(find(&soon, "Reconciling").reason, "InProgress");
    assert_eq!(find(&stuck().report(&soon, MADE_AT + 5600), "Reconciling").reason, "RolloutStopped");
}

#[test]
fn who_waits_for_no_member_has_not_stopped() {
    let ready = replicated("PRR").report(&TenantStatus::default(), READY_AT);
    let case = || Case { waits_on: None, ..stuck() };
    let later = case().report(&case().report(&ready, MADE_AT), MADE_AT + 9000);
    assert_eq!(find(&later, "Reconciling").reason, "InProgress");
}

#[test]
fn a_single_redis_that_does_not_come_back_is_told_too() {
    let ready = Case::new(true, true).report(&TenantStatus::default(), READY_AT);
    let stuck = || {
        let mut case = Case::new(false, true);
        let status = json!({ "observedGeneration": 1, "readyReplicas": 0, "currentRevision": "a", "updateRevision": "b" });
        let set = json!({ "spec": { "replicas": 1 }, "status": status });
        seen(&mut case.observed.objects, Kind::StatefulSet, "redis", &set);
        put_pod(&mut case, "redis-0", "b", false);
        case
    };
    let begun = stuck().report(&ready, MADE_AT);
    assert_eq!(begun.phase, Some(Phase::Updating));
    let stopped = stuck().report(&begun, MADE_AT + 600);
    assert_eq!(
        (stopped.phase, find(&stopped, "Reconciling").reason.as_str()),
        (Some(Phase::Degraded), "RolloutStopped")
    );
    assert!(find(&stopped, "Reconciling").message.ends_with("Correct the spec, such as the image"));
    assert_eq!(reasons(&events(&begun, &stopped)), ["RolloutStopped"]);
}

/// The pod of a member is there no more, or ends.
fn end_pod(case: &mut Case, name: &str, revision: &str) {
    put_pod(case, name, revision, false);
    let pod = case.observed.get(Kind::Pod, name).unwrap();
    let (key, mut body) = (pod.key.clone(), pod.body.clone());
    body["metadata"]["deletionTimestamp"] = json!(at(MADE_AT).to_string());
    case.observed.objects.insert(key, Arc::new(Seen::new(Kind::Pod, body).unwrap().1));
}

fn failover(status: &TenantStatus) -> &str {
    status.redis.as_ref().and_then(|it| it.last_failover.as_ref()).map_or("none", |it| it.reason.as_str())
}

fn handing_over(status: &TenantStatus) -> Option<&str> {
    status.redis.as_ref()?.handing_over.as_deref()
}

#[test]
fn a_primary_that_is_replaced_hands_over_also_where_that_is_seen_when_its_pod_is_back() {
    let ready = replicated("PRR").report(&TenantStatus::default(), READY_AT);
    let ends = |roles| {
        let mut case = Case { settled: false, ..replicated(roles) };
        end_pod(&mut case, "redis-0", "former");
        case
    };
    assert_eq!(failover(&ends("-PR").report(&ready, 2)), "HandOver", "it still ends");

    let ending = ends("PRR").report(&ready, 2);
    assert_eq!(handing_over(&ending), Some("redis-0"));
    let without = ends("-RR").report(&ending, 3);
    let back = replicated("-RR").report(&without, 4);
    assert_eq!(handing_over(&back), Some("redis-0"));
    let taken = replicated("RPR").report(&back, 5);
    assert_eq!((failover(&taken), handing_over(&taken)), ("HandOver", None));
    assert!(events(&back, &taken).iter().all(|it| it.kind == EventType::Normal));

    let resumed = replicated("PRR").report(&back, 5);
    assert_eq!((failover(&resumed), handing_over(&resumed)), ("none", None), "nobody took over");
}

#[test]
fn a_primary_that_fails_while_something_else_is_under_way_has_failed() {
    let ready = replicated("PRR").report(&TenantStatus::default(), READY_AT);
    let unsettled = Case { settled: false, ..replicated("SPR") };
    assert_eq!(failover(&unsettled.report(&ready, 2)), "Failover", "a volume does not grow");
    assert_eq!(failover(&Case { waits_on: Some("redis-0"), ..unsettled }.report(&ready, 2)), "Failover");
    // Somebody else deletes it, as it is wanted.
    let mut deleted = replicated("-PR");
    end_pod(&mut deleted, "redis-0", "a");
    assert_eq!(failover(&deleted.report(&ready, 2)), "Failover");
    let mut of_a_shard = Case { settled: false, ..clustered(&formed(3)) };
    let before = of_a_shard.report(&TenantStatus::default(), READY_AT);
    let mut shards = formed(3);
    shards[1].primary = Some(1);
    of_a_shard = Case { settled: false, ..clustered(&shards) };
    assert_eq!(failover(&of_a_shard.report(&before, 2)), "Failover", "the Job moves slots for hours");
    end_pod(&mut of_a_shard, "redis-shard-1-0", "former");
    assert_eq!(failover(&of_a_shard.report(&before, 2)), "HandOver");
}

#[test]
fn why_a_pod_cannot_start_is_told() {
    let ready = replicated("PRR").report(&TenantStatus::default(), READY_AT);
    let stuck = || {
        let mut case = stuck();
        let mut body = case.observed.get(Kind::Pod, "redis-2").unwrap().body.clone();
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 5m0s" } });
        body["status"]["containerStatuses"] = json!([{ "name": "redis", "state": waiting }]);
        let (_, pod) = Seen::new(Kind::Pod, body).unwrap();
        case.observed.objects.insert(pod.key.clone(), Arc::new(pod));
        case
    };
    let stopped = stuck().report(&stuck().report(&ready, MADE_AT), MADE_AT + 600);
    let message = &find(&stopped, "Reconciling").message;
    assert!(
        message.contains("redis-2 has not become ready within 10 minutes (CrashLoopBackOff); "),
        "{message}"
    );
}
