//! A `Replicated` tenant under load while its parts fail: nothing that was acknowledged is lost, and what was read is
//! explained by an order. `KEYSTEAD_CHAOS_ROUNDS` says how often each fault is tried, else once; `KEYSTEAD_CHAOS_ONLY` names
//! those that are tried, else all, with a semicolon between them.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use keystead_chaos::{
    Subject,
    faults::{FAULTS, SmallDisks},
    is_wanted, rounds,
};
use keystead_cluster::images::{REDIS, REDIS_8};
use serde_json::{Value, json};

fn redis(durability: &str) -> Value {
    json!({"topology": "Replicated", "durability": durability})
}

fn redis_container(pod: &Value) -> Value {
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    containers.into_iter().find(|container| container["name"] == "redis").unwrap_or_default()
}

#[test]
fn no_fault_loses_an_acknowledged_write() {
    let mut subject = Subject::ready("chaos", "Faults, `durability: Replicated`", &redis("Replicated"));
    for fault in FAULTS.iter().filter(|fault| is_wanted(fault)) {
        subject.rounds_of(fault);
    }
    println!("{}", subject.report);
    assert_eq!(subject.report.broken_promises(), Vec::<String>::new());
}

#[test]
fn what_is_lost_without_durability_is_counted() {
    let mut subject = Subject::ready("chaos-async", "Faults, `durability: Async`", &redis("Async"));
    for fault in FAULTS.iter().filter(|fault| fault.of_the_process && is_wanted(fault)) {
        subject.rounds_of(fault);
    }
    println!("{}", subject.report);
}

#[test]
fn a_full_disk_loses_no_acknowledged_write() {
    let mut subject =
        Subject::ready("chaos-disk", "Full disk, `durability: Replicated`", &redis("Replicated"));
    let disks = SmallDisks::under(&subject.site);
    for _ in 0..rounds() {
        subject.round("primary's disk full for 15 s", |site| disks.fill(site));
    }
    println!("{}", subject.report);
    assert_eq!(subject.report.broken_promises(), Vec::<String>::new());
    subject.tenant.delete();
}

#[test]
fn a_planned_change_fails_no_request() {
    let mut subject =
        Subject::ready("chaos-planned", "Planned changes, `durability: Replicated`", &redis("Replicated"));
    for round in 0..rounds() {
        let memory = format!("{}Mi", 192 + 16 * round);
        let image = format!("{REDIS}-chaos-{round}");
        subject.site.cluster.tag_image(REDIS, &image).expect("another name for the image");
        let hz = (20 + round).to_string();
        // Where the pods show it: a configuration may need no other pods.
        for (name, redis, shown) in [
            (
                "memory",
                json!({"resources": {"limits": {"memory": memory}}}),
                Some(("/resources/limits/memory", &memory)),
            ),
            ("image", json!({ "image": image }), Some(("/image", &image))),
            ("configuration", json!({"config": {"hz": hz}}), None),
        ] {
            subject.change_under_load(name, &json!({ "redis": redis }), |pod| {
                shown.is_none_or(|(at, value)| redis_container(pod).pointer(at) == Some(&json!(value)))
            });
        }
    }
    for _ in 0..rounds() {
        subject.rotate_passwords_under_load();
    }
    let next = json!({ "redis": { "image": null, "version": "8.0" } });
    subject.change_under_load("Redis 7.0 to 8.0", &next, |pod| {
        redis_container(pod).pointer("/image") == Some(&json!(REDIS_8))
    });
    println!("{}", subject.report);
    let failed: Vec<_> = subject.report.rounds.iter().filter(|round| !round.failed.is_empty()).collect();
    assert!(failed.is_empty(), "requests failed: {failed:#?}");
    assert_eq!(subject.report.broken_promises(), Vec::<String>::new());
}
