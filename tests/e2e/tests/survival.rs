//! What was acknowledged is still there: pods die, the operator is killed at bad moments.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use keystead_e2e::{
    Answer, EndsWhenDropped, Gateway, Tenant, eventually, get_json, kubectl, kubectl_ok, within,
};
use serde_json::{Value, json};

#[test]
fn every_redis_pod_deleted_loses_no_acknowledged_write() {
    let tenants = [Tenant::ready("phoenix", &json!({})), Tenant::ready("simurgh", &json!({}))];
    let gateway = Gateway::installed();
    let users: Vec<_> = tenants.iter().map(|tenant| tenant.register(&gateway, "rosa")).collect();
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<BTreeMap<String, u64>> = thread::scope(|scope| {
        let writers: Vec<_> = users
            .iter()
            .map(|user| scope.spawn(|| write_until(&gateway, &user.access_token, &stop)))
            .collect();
        for (round, grace) in ["--grace-period=30", "--grace-period=0", "--force"].into_iter().enumerate() {
            // Let some writes through first: they are what could be lost.
            let marker = format!("round-{round}");
            for user in &users {
                eventually("the gateway writes", || {
                    let answer =
                        gateway.put(&format!("/api/v1/kv/{marker}"), &user.access_token, &json!(round));
                    if matches!(answer.status, 200 | 201) { Ok(()) } else { Err(answer) }
                });
            }
            for tenant in &tenants {
                delete_redis(tenant, grace);
            }
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("the writer ends well")).collect()
    });
    for (user, written) in users.iter().zip(&acknowledged) {
        assert!(written.len() > 20, "only {} writes were acknowledged", written.len());
        let lost: Vec<_> = written
            .iter()
            .filter_map(|(key, value)| {
                // The connection to the pod that is gone may have to time out first.
                let path = format!("/api/v1/kv/{key}");
                let answer = eventually("the gateway reads", || {
                    let answer = gateway.get(&path, &user.access_token);
                    if matches!(answer.status, 503 | 504) { Err(answer) } else { Ok(answer) }
                });
                let kept = answer.status == 200 && answer.body["value"].as_u64() >= Some(*value);
                (!kept).then(|| format!("{key}: {value} was acknowledged, now {answer:?}"))
            })
            .collect();
        assert!(lost.is_empty(), "{} of {} lost: {lost:#?}", lost.len(), written.len());
    }
}

/// Writes rising numbers to a few hundred keys; gives the last acknowledged one of each.
fn write_until(gateway: &Gateway, token: &str, stop: &AtomicBool) -> BTreeMap<String, u64> {
    let mut acknowledged = BTreeMap::new();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("key-{}", number % 300);
        let answer =
            gateway.call("PUT", &format!("/api/v1/kv/{key}"), Some(token), Some(&json!({"value": number})));
        match answer {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                acknowledged.insert(key, number);
            }
            // While Redis is away; not acknowledged, so nothing is promised.
            Ok(answer) if matches!(answer.status, 503 | 504) => thread::sleep(Duration::from_millis(10)),
            Ok(answer) => panic!("an answer that no client can act on: {answer:?}"),
            Err(error) => panic!("the gateway itself did not answer: {error}"),
        }
        number += 1;
    }
    acknowledged
}

/// Deletes the tenant's Redis pod and waits until another is ready in its place.
fn delete_redis(tenant: &Tenant, grace: &str) {
    let before = tenant.field("pod", "redis-0", "/metadata/uid");
    kubectl_ok(&["delete", "pod", "redis-0", "-n", &tenant.namespace(), grace, "--wait=false"]);
    eventually("a new Redis pod is ready", || {
        let pod = get_json(&["pod", "redis-0", "-n", &tenant.namespace()])?;
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        if pod["metadata"]["uid"] != before && ready { Ok(()) } else { Err(pod["status"].to_string()) }
    });
}

/// How long the gateway lets requests wait for a Redis that is restarted on purpose; a little less.
const WAIT: Duration = Duration::from_millis(9500);

#[test]
fn a_single_redis_that_is_changed_is_waited_for() {
    let tenant = Tenant::ready("heron", &json!({}));
    let gateway = Gateway::installed();
    let rosa = tenant.register(&gateway, "rosa");
    let token = &rosa.access_token;
    let written = Gateway::patiently(|| gateway.put("/api/v1/kv/k", token, &json!(1)));
    assert_eq!(written.status, 201, "{written:?}");
    let pod = || tenant.field("pod", "redis-0", "/metadata/uid");
    let before = pod();
    let stop = AtomicBool::new(false);
    let (reads, writes) = thread::scope(|scope| {
        let _end = EndsWhenDropped(&stop);
        let reader = scope.spawn(|| ask_until(&stop, || gateway.get("/api/v1/kv/k", token)));
        let writer = scope.spawn(|| ask_until(&stop, || gateway.put("/api/v1/kv/w", token, &json!(2))));
        tenant.patch(&json!({"redis": {"resources": {"limits": {"memory": "300Mi"}}}}));
        within(Duration::from_mins(3), "the pod is another one", || {
            let now = get_json(&["pod", "redis-0", "-n", &tenant.namespace()])?["metadata"]["uid"].clone();
            if now == before { Err(now) } else { Ok(()) }
        });
        tenant.wait_ready();
        stop.store(true, Ordering::Relaxed);
        (reader.join().expect("the reader ends well"), writer.join().expect("the writer ends well"))
    });
    for asked in [&reads, &writes] {
        let longest = asked.iter().map(|(took, _)| *took).max().expect("some requests");
        println!("{} requests, the longest took {longest:?}", asked.len());
        assert!(longest > Duration::from_millis(200), "a restart cannot be so quick: {longest:?}");
    }
    // On a busy machine it may take longer than anybody is kept waiting.
    let refused = |asked: &[(Duration, Answer)]| -> Vec<(Duration, Answer)> {
        let is_early = |(took, answer): &&(Duration, Answer)| answer.status >= 300 && *took < WAIT;
        asked.iter().filter(is_early).cloned().collect()
    };
    assert!(refused(&reads).is_empty(), "{:#?}", refused(&reads));
    // Of one that was just under way when it went nobody knows what became of it.
    assert!(refused(&writes).len() <= 1, "{:#?}", refused(&writes));
    let kept = gateway.get("/api/v1/kv/k", token);
    assert_eq!((kept.status, &kept.body["value"]), (200, &json!(1)), "{kept:?}");
}

/// Asks again and again; gives how long each answer took.
fn ask_until(stop: &AtomicBool, ask: impl Fn() -> Answer) -> Vec<(Duration, Answer)> {
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = ask();
        answers.push((begun.elapsed(), answer));
        thread::sleep(Duration::from_millis(20));
    }
    answers
}

/// Kills the operator that leads, without grace, and gives its pod's name.
fn kill_leader() -> String {
    let lease = get_json(&["leases", "-n", "keystead-system"]).expect("leases");
    let holder = lease["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|item| item["spec"]["holderIdentity"].as_str())
        .expect("a leader")
        .to_owned();
    let killed = kubectl(
        &["delete", "pod", &holder, "-n", "keystead-system", "--grace-period=0", "--force", "--wait=false"],
        None,
    );
    assert!(killed.success, "{}", killed.stderr);
    holder
}

#[test]
fn the_next_leader_finishes_a_provisioning_and_a_deletion() {
    let names = ["relay-1", "relay-2", "relay-3"];
    let tenants: Vec<Tenant> = names.iter().map(|name| Tenant::apply(name, &json!({}))).collect();
    let first = kill_leader();
    for tenant in &tenants {
        tenant.wait_ready();
    }
    let password = |tenant: &Tenant| tenant.field("secret", "credentials", "/data");
    let before: Vec<Value> = tenants.iter().map(password).collect();

    for name in names {
        kubectl_ok(&["delete", "tenant", name, "--wait=false"]);
    }
    within(Duration::from_mins(2), "a second leader, not the first", || {
        let leases = get_json(&["leases", "-n", "keystead-system"])?;
        let holder = leases["items"][0]["spec"]["holderIdentity"].as_str().unwrap_or("").to_owned();
        if holder.is_empty() || holder == first { Err(holder) } else { Ok(()) }
    });
    kill_leader();
    assert!(before.iter().all(|secret| !secret.is_null()));
    for tenant in tenants {
        tenant.delete();
    }
}
