//! Redis that only answer reads: the gateway reads from them, and an autoscaler moves them with the load.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use keystead_e2e::{EndsWhenDropped, Gateway, Tenant, get_json, kubectl_ok, within};
use serde_json::{Value, json};

use super::put;

/// An autoscaler looks every 15 s at figures that are as old, and a reader has to be started.
const SCALED: Duration = Duration::from_mins(4);

#[test]
fn readers_answer_reads_and_are_scaled_with_the_load() {
    let at_once = |policy: Value| json!({"stabilizationWindowSeconds": 0, "policies": [policy]});
    let behavior = json!({
        "scaleUp": at_once(json!({"type": "Pods", "value": 1, "periodSeconds": 15})),
        "scaleDown": at_once(json!({"type": "Percent", "value": 100, "periodSeconds": 15})),
    });
    let tenant = Tenant::ready(
        "readers",
        &json!({
            "redis": {"topology": "Replicated", "resources": {"requests": {"cpu": "60m"}}},
            "autoscaling": {"readers": {
                "profile": "Custom", "minReplicas": 1, "maxReplicas": 2, "cpuUtilization": 70, "behavior": behavior,
            }},
        }),
    );
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "rosa");
    let token = &user.access_token;
    for number in 0..100 {
        put(&gateway, token, &format!("key-{number}"), &json!("x".repeat(1000)));
    }
    within(Duration::from_mins(2), "a reader is ready", || ready_readers(&tenant, |count| count == 1));
    let before = commands(&tenant, 0);
    let list = "/api/v1/kv?page_size=100&values=true&consistency=replica";
    within(Duration::from_mins(1), "a reader has it all", || {
        let answer = gateway.get(list, token);
        if answer.body["total"] == 100 { Ok(()) } else { Err(answer) }
    });

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = gateway.get(list, token);
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
            });
        }
        let _ends = EndsWhenDropped(&is_over);
        within(SCALED, "a second reader is ready", || ready_readers(&tenant, |count| count == 2));
        let begun = commands(&tenant, 1);
        within(SCALED, "it takes a part of the load", || {
            let now = commands(&tenant, 1);
            if now > begun + 1000 { Ok(()) } else { Err(now - begun) }
        });
    });
    let after = commands(&tenant, 0);
    assert!(after > before + 100, "the readers were asked: {before} commands at first, {after} in the end");
    within(SCALED, "the second reader goes when there is no load", || {
        ready_readers(&tenant, |count| count == 1)
    });
}

fn ready_readers(tenant: &Tenant, is_right: impl Fn(u64) -> bool) -> Result<(), Value> {
    let set =
        get_json(&["statefulset", "redis-readers", "-n", &tenant.namespace()]).map_err(Value::String)?;
    let count = set["status"]["readyReplicas"].as_u64().unwrap_or(0);
    if is_right(count) && set["status"]["replicas"] == count {
        return Ok(());
    }
    let autoscaler = get_json(&["hpa", "redis-readers", "-n", &tenant.namespace()]).unwrap_or_default();
    Err(json!({"readers": set["status"], "autoscaler": autoscaler["status"]}))
}

/// How many commands a reader has carried out.
fn commands(tenant: &Tenant, reader: u8) -> u64 {
    let ask = "REDISCLI_AUTH=\"$(cat /etc/keystead/passwords/monitor)\" \
               redis-cli --user monitor --no-auth-warning INFO stats";
    let reader = format!("redis-readers-{reader}");
    let exec = ["exec", &reader, "-n", &tenant.namespace(), "-c", "redis", "--", "sh", "-c", ask];
    let info = kubectl_ok(&exec);
    let count = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    count.expect("a count").trim().parse().expect("a number")
}
