//! A tenant that nobody uses sleeps: no pod runs and its volume is kept. A request, and a job that is due, wake it.

use std::time::Duration;

use keystead_e2e::{Gateway, Tenant, User, get_json, kubectl_ok, within};
use serde_json::{Value, json};

/// It sleeps a minute after it was used, and a minute more in which that may not be noted.
const SLEEPS_WITHIN: Duration = Duration::from_mins(8);
/// Seconds until a job is due: it has to sleep before, by a while.
const DUE: u64 = 480;

/// Those that run or are to run: that of a Job which is done takes nothing.
fn pods(tenant: &Tenant) -> String {
    let undone = "--field-selector=status.phase!=Succeeded";
    kubectl_ok(&["get", "pods", "-n", &tenant.namespace(), undone, "-o", "name"])
}

/// Waits until it sleeps and no pod is left.
fn asleep(tenant: &Tenant) {
    within(SLEEPS_WITHIN, "the tenant sleeps and none of its pods is left", || {
        let status = get_json(&["tenant", &tenant.name])?["status"].clone();
        let left = pods(tenant);
        let is_asleep = status["phase"] == "Sleeping" && left.is_empty();
        if is_asleep { Ok(()) } else { Err(what_keeps(tenant, &status, &left)) }
    });
    tenant.wait_ready();
}

/// In few words: what runs, how far it is in falling asleep, what is not as it should be, and since when.
fn what_keeps(tenant: &Tenant, status: &Value, pods: &str) -> String {
    let route = get_json(&["secret", "-n", "keystead-system", &format!("route-{}", tenant.name)]);
    let stage = route.map(|route| route["metadata"]["annotations"]["keystead.io/sleep"].clone());
    let conditions: Vec<String> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| format!("{}={} {} {}", it["type"], it["status"], it["reason"], it["lastTransitionTime"]))
        .collect();
    format!("{} {stage:?} {conditions:?} {} {pods:?}", status["phase"], status["usage"])
}

fn volumes(tenant: &Tenant) -> Vec<(Value, Value)> {
    let claims = get_json(&["persistentvolumeclaims", "-n", &tenant.namespace()]).expect("listing claims");
    let claims = claims["items"].as_array().expect("a list").clone();
    claims.iter().map(|it| (it["metadata"]["uid"].clone(), it["spec"]["volumeName"].clone())).collect()
}

/// A caller is waited for, and who is not may ask again.
fn woken(gateway: &Gateway, ada: &User) {
    within(Duration::from_mins(1), "a GET wakes it and is answered", || {
        let answer = gateway.call("GET", "/api/v1/kv/k", Some(&ada.access_token), None);
        let answer = answer.map_err(|error| error.to_string())?;
        if matches!(answer.status, 503 | 504) {
            // The latter two of a Redis that is there, and slow with its first answers.
            let said = ["tenant_waking", "redis_unavailable", "deadline_exceeded"];
            assert!(said.iter().any(|code| answer.body["code"] == *code), "{answer:?}");
            return Err(format!("{answer:?}"));
        }
        assert_eq!((answer.status, &answer.body["value"]), (200, &json!("kept")), "{answer:?}");
        Ok(())
    });
}

fn sleeps_and_wakes(name: &str, spec: &Value) {
    let mut spec = spec.clone();
    spec["hibernation"] = json!({"idleAfter": "1m"});
    spec["limits"] = json!({"defaultTtlSeconds": 0});
    let tenant = Tenant::ready(name, &spec);
    let gateway = Gateway::installed();
    let ada = tenant.register(&gateway, "ada");
    let written = gateway.put("/api/v1/kv/k", &ada.access_token, &json!("kept"));
    assert_eq!(written.status, 201, "{written:?}");
    let kept = volumes(&tenant);
    assert!(!kept.is_empty());

    asleep(&tenant);
    assert_eq!(volumes(&tenant), kept);
    let health = gateway.get(&format!("/t/{name}/health"), &ada.access_token);
    assert_eq!((health.status, &health.body["status"]), (200, &json!("sleeping")), "{health:?}");
    assert_eq!(pods(&tenant), "");

    woken(&gateway, &ada);
    within(Duration::from_mins(2), "it is as it was before it slept", || {
        let status = get_json(&["tenant", name])?["status"].clone();
        if status["phase"] == "Ready" { Ok(()) } else { Err(format!("{status:#}")) }
    });
    let events = kubectl_ok(&["get", "events", "-n", "default", "-o", "jsonpath={.items[*].reason}"]);
    for reason in ["Sleeping", "Waking"] {
        assert!(events.contains(reason), "{reason}: {events}");
    }
}

#[test]
fn a_get_wakes_one_redis() {
    sleeps_and_wakes("dormouse", &json!({}));
}

#[test]
fn a_job_that_is_due_wakes_it() {
    let tenant = Tenant::ready(
        "marmot",
        &json!({"hibernation": {"idleAfter": "1m"}, "limits": {"defaultTtlSeconds": 0}}),
    );
    let gateway = Gateway::installed();
    let ada = tenant.register(&gateway, "ada");
    assert_eq!(gateway.put("/api/v1/kv/k", &ada.access_token, &json!("kept")).status, 201);
    let queued =
        gateway.post("/api/v1/jobs", Some(&ada.access_token), &json!({"kind": "kv.export", "delay": DUE}));
    assert_eq!(queued.status, 202, "{queued:?}");
    asleep(&tenant);
    // Nobody asks: it is the job that wakes it.
    within(Duration::from_secs(DUE + 60), "the job that is due wakes it", || {
        let left = pods(&tenant);
        if left.contains("redis-0") { Ok(()) } else { Err(left) }
    });
    let path = format!("/api/v1/jobs/{}", queued.body["id"].as_str().expect("an id"));
    within(Duration::from_mins(1), "the job is done", || {
        let job = gateway.get(&path, &ada.access_token);
        if job.body["status"] == "succeeded" { Ok(()) } else { Err(job) }
    });
    woken(&gateway, &ada);
}

#[test]
fn members_come_back_all_at_once_with_what_they_had() {
    sleeps_and_wakes("bears", &json!({"redis": {"topology": "Replicated", "durability": "Replicated"}}));
}

#[test]
fn so_do_shards() {
    sleeps_and_wakes("bats", &json!({"redis": {"topology": "Cluster", "replicasPerShard": 0}}));
}

#[test]
fn a_changed_spec_wakes_it_and_one_that_is_deleted_in_its_sleep_goes() {
    let name = "hedgehog";
    let tenant = Tenant::ready(name, &json!({"hibernation": {"idleAfter": "1m"}}));
    asleep(&tenant);
    tenant.patch(&json!({"limits": {"maxKeyBytes": 100}}));
    within(Duration::from_mins(2), "the change is carried out by one that is awake", || {
        let tenant = get_json(&["tenant", name])?;
        let is_current = tenant["status"]["observedGeneration"] == tenant["metadata"]["generation"];
        let is_awake = tenant["status"]["phase"] == "Ready";
        if is_current && is_awake { Ok(()) } else { Err(format!("{:#}", tenant["status"])) }
    });
    asleep(&tenant);
    tenant.patch(&json!({"suspend": true}));
    within(Duration::from_mins(1), "it is suspended and sleeps on", || {
        let status = get_json(&["tenant", name])?["status"].clone();
        if status["phase"] == "Suspended" { Ok(()) } else { Err(format!("{status:#}")) }
    });
    assert_eq!(pods(&tenant), "");
    tenant.delete();
}
