//! Workers follow the queue on the real cluster: the last one goes where nothing is to do, jobs bring the most and their end takes
//! them away, and nobody but the autoscaler decides between one and the most. Also what the status says of a tenant's use.
//!
//! `KEYSTEAD_SCALING_PROFILE=Api` has the profile itself in place of its way up with a quick way down: ten minutes more.

use std::{
    env,
    time::{Duration, Instant},
};

use keystead_e2e::{Gateway, Tenant, get_json, kubectl_ok, within};
use serde_json::{Value, json};

const MOST: u64 = 4;
const JOBS: usize = 200;
const ENTRIES: usize = 10_000;
/// A reading each 10 s, the autoscaler each 15 s, and pods that have to start; the machine may be busy.
const UP: Duration = Duration::from_mins(3);
/// Jobs that are slow on purpose.
const DRAINED: Duration = Duration::from_mins(15);
/// Ten minutes where the profile Api decides, and four minutes without a job besides.
const DOWN: Duration = Duration::from_mins(20);

fn is_profile_itself() -> bool {
    env::var("KEYSTEAD_SCALING_PROFILE").as_deref() == Ok("Api")
}

/// Its CPU decides nothing: it is held far below what would be too much of its request, and makes the jobs slow.
fn spec() -> Value {
    let mut workers = json!({"profile": "Api", "minReplicas": 0, "maxReplicas": MOST, "cpuUtilization": 1000, "queueDepth": 20});
    if !is_profile_itself() {
        let at_once = |policies: Value| json!({"stabilizationWindowSeconds": 0, "policies": policies});
        workers["profile"] = json!("Custom");
        workers["behavior"] = json!({
            // As the profile Api has it, and down without its ten minutes.
            "scaleUp": at_once(json!([
                {"type": "Percent", "value": 100, "periodSeconds": 15}, {"type": "Pods", "value": 4, "periodSeconds": 15},
            ])),
            "scaleDown": at_once(json!([{"type": "Percent", "value": 100, "periodSeconds": 15}])),
        });
    }
    json!({
        "worker": {"concurrency": 1, "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "50m"}}},
        "autoscaling": {"workers": workers},
        // For as long as this takes at most.
        "auth": {"accessTokenTtl": "2h"},
    })
}

fn replicas(tenant: &Tenant) -> u64 {
    tenant.field("deployment", "worker", "/spec/replicas").as_u64().expect("a number of pods")
}

/// What was seen, where it is not this number.
fn has_replicas(tenant: &Tenant, wanted: u64) -> Result<(), Value> {
    let found = replicas(tenant);
    if found == wanted {
        return Ok(());
    }
    let autoscaler = get_json(&["hpa", "worker", "-n", &tenant.namespace()]).unwrap_or_default();
    let usage = status(tenant)["usage"].clone();
    Err(json!({"replicas": found, "autoscaler": autoscaler["status"], "usage": usage}))
}

fn status(tenant: &Tenant) -> Value {
    get_json(&["tenant", &tenant.name]).expect("the Tenant is there")["status"].clone()
}

fn waiting(gateway: &Gateway, token: &str, jobs: &[String]) -> usize {
    let is_open = |id: &&String| {
        let job = Gateway::patiently(|| gateway.get(&format!("/api/v1/jobs/{id}"), token));
        assert_eq!(job.status, 200, "{job:?}");
        job.body["status"] == "pending" || job.body["status"] == "running"
    };
    // From the last one on: those before it are done when it has begun.
    jobs.iter().rev().take_while(is_open).count()
}

/// Has the operator make a pass, as any change does, and waits for its end: it puts a label back.
fn operator_looks(tenant: &Tenant) {
    let other = "app.kubernetes.io/part-of=other";
    kubectl_ok(&["label", "deployment", "worker", "-n", &tenant.namespace(), other, "--overwrite"]);
    within(Duration::from_secs(90), "the operator puts the label back", || {
        let label = tenant.field("deployment", "worker", "/metadata/labels/app.kubernetes.io~1part-of");
        if label == "keystead" { Ok(()) } else { Err(label) }
    });
}

#[test]
fn slow_jobs_bring_workers_from_none_to_the_most_and_back() {
    let tenant = Tenant::ready("busy", &spec());
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    let token = &user.access_token;
    for thousand in 0..ENTRIES / 1000 {
        let item =
            |number: usize| json!({"key": format!("key-{thousand}-{number}"), "value": "x".repeat(1000)});
        let items: Vec<Value> = (0..1000).map(item).collect();
        let batch = json!({"items": items});
        let answer = Gateway::patiently(|| gateway.post("/api/v1/kv/batch", Some(token), &batch));
        assert_eq!(answer.status, 200, "{answer:?}");
        let wrong = |it: &&Value| !matches!(it["status"].as_u64(), Some(200 | 201));
        assert_eq!(answer.body["items"].as_array().and_then(|items| items.iter().find(wrong)), None);
    }
    within(DOWN, "no worker is left where there is nothing to do", || has_replicas(&tenant, 0));
    within(Duration::from_mins(1), "the status says so", || {
        let status = status(&tenant);
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let worker =
            conditions.iter().find(|it| it["type"] == "WorkerAvailable").cloned().unwrap_or_default();
        let is_told = worker["reason"] == "Idle" && status["usage"]["keys"] == ENTRIES;
        if is_told && status["phase"] == "Ready" { Ok(()) } else { Err(status) }
    });

    let begun = Instant::now();
    let queue = || {
        let job = json!({"kind": "kv.export", "payload": {"prefix": "key-"}});
        let queued = Gateway::patiently(|| gateway.post("/api/v1/jobs", Some(token), &job));
        assert_eq!(queued.status, 202, "{queued:?}");
        queued.body["id"].as_str().expect("an id").to_owned()
    };
    let jobs: Vec<String> = (0..JOBS).map(|_| queue()).collect();
    let mut seen = vec![replicas(&tenant)];
    within(UP, "the most workers that there may be", || {
        seen.push(replicas(&tenant));
        has_replicas(&tenant, MOST)
    });
    println!(
        "from none to {MOST} workers: {:.1} s after the first job was queued",
        begun.elapsed().as_secs_f64()
    );
    assert!(seen.is_sorted(), "somebody took workers away while there was work: {seen:?}");

    // A pass of the operator, as any change brings one: it leaves the number alone.
    operator_looks(&tenant);
    if waiting(&gateway, token, &jobs) > 100 {
        assert_eq!(replicas(&tenant), MOST, "the autoscaler's number is the autoscaler's");
    }

    within(DRAINED, "all jobs are done", || {
        let left = waiting(&gateway, token, &jobs);
        if left == 0 { Ok(()) } else { Err(left) }
    });
    // After the ten minutes of the profile nothing has been to do for long enough: the last one goes as well.
    let left = u64::from(!is_profile_itself());
    within(DOWN, "one is left, until nothing was to do for long enough", || has_replicas(&tenant, left));
    println!("down again: {:.1} s after the first job was queued", begun.elapsed().as_secs_f64());
    let done = gateway.job_done(token, "ttl.sweep");
    assert_eq!(done.body["status"], "succeeded", "{done:?}");
}

#[test]
fn what_somebody_scales_by_hand_is_for_the_autoscaler_to_judge() {
    // It would take them away at once, as soon as it knows their CPU: then only the operator could have done so.
    let behavior = json!({"scaleDown": {"selectPolicy": "Disabled"}});
    let workers = json!({"profile": "Custom", "behavior": behavior, "minReplicas": 1, "maxReplicas": 3});
    let tenant = Tenant::ready("steady", &json!({"autoscaling": {"workers": workers}}));
    kubectl_ok(&["scale", "deployment", "worker", "--replicas=3", "-n", &tenant.namespace()]);
    operator_looks(&tenant);
    assert_eq!(replicas(&tenant), 3);
}
