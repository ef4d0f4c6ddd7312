//! A `Cluster` tenant under load, while parts of its first shard fail and while it grows and shrinks.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use keystead_chaos::{Subject, faults::FAULTS, is_wanted, rounds};
use serde_json::{Value, json};

fn redis(replicas: u32) -> Value {
    json!({"topology": "Cluster", "durability": "Replicated", "replicasPerShard": replicas})
}

#[test]
fn no_fault_loses_an_acknowledged_write() {
    let mut subject = Subject::ready("chaos-cluster", "Faults, topology `Cluster`", &redis(1));
    for fault in FAULTS.iter().filter(|fault| !fault.is_of_sentinels() && is_wanted(fault)) {
        subject.rounds_of(fault);
    }
    println!("{}", subject.report);
    assert_eq!(subject.report.broken_promises(), Vec::<String>::new());
}

/// With one, writes to its shard wait until the failed member is back.
#[test]
fn with_two_replicas_writes_go_on_without_who_failed() {
    let title = "Faults, topology `Cluster`, two replicas";
    let mut subject = Subject::ready("chaos-pairs", title, &redis(2));
    let killed_or_ended = ["kill -9 of the primary", "kill -9 of a replica", "primary's pod deleted"];
    for fault in FAULTS.iter().filter(|fault| killed_or_ended.contains(&fault.name) && is_wanted(fault)) {
        subject.rounds_of(fault);
    }
    println!("{}", subject.report);
    assert_eq!(subject.report.broken_promises(), Vec::<String>::new());
}

#[test]
fn a_planned_change_fails_no_request() {
    // With one a write cannot be confirmed while a member is being replaced.
    let mut subject = Subject::ready("cluster-planned", "Planned changes, topology `Cluster`", &redis(2));
    for round in 0..rounds() {
        for shards in [4, 3] {
            let name = format!("{shards} shards");
            subject.change_under_load(&name, &json!({"redis": {"shards": shards}}), |_| true);
        }
        let memory = format!("{}Mi", 192 + 16 * round);
        let limits = json!({"redis": {"resources": {"limits": {"memory": memory}}}});
        subject.change_under_load("memory", &limits, |pod| {
            pod.pointer("/spec/containers/0/resources/limits/memory") == Some(&json!(memory))
        });
        subject.rotate_passwords_under_load();
    }
    println!("{}", subject.report);
    let failed: Vec<_> = subject.report.rounds.iter().filter(|round| !round.failed.is_empty()).collect();
    assert!(failed.is_empty(), "requests failed: {failed:#?}");
    assert_eq!(subject.report.broken_promises(), Vec::<String>::new());
}
