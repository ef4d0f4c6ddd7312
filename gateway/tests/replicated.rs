//! What clients of a tenant with several Redis see of a failover, through a real gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use client::{Answer, Client, eventually, owned, start_with};
use keystead_kv::acl;
use keystead_route::{Cache, Durability, Reads, Route};
use keystead_tests::{gateway::route, replicated::Replicated};
use serde_json::{Value, json};

/// A tenant with three Redis.
fn replicated() -> (Replicated, Route) {
    let (redis, sentinel) = (
        format!("user gateway on >word {}", acl::GATEWAY),
        format!("user gateway on >word {}", acl::SENTINEL_CLIENT),
    );
    let group = Replicated::start(3, &[&redis], &[&sentinel]);
    let mut acme = route("acme", "");
    acme.redis.endpoint = group.endpoint();
    acme.redis.username = Some("gateway".into());
    acme.redis.password = Some("word".into());
    (group, acme)
}

#[test]
fn clients_see_no_hand_over_and_get_back_what_was_acknowledged_before_a_crash() {
    let (mut group, mut acme) = replicated();
    acme.redis.durability = Durability::Replicated;
    let admin = owned(&mut acme);
    let gateway = start_with(&[acme]);
    let client = Client::registered(&gateway, "acme");
    let admin = Client::with_api_key(&gateway, &admin);

    let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed: Mutex<Vec<(u16, String)>> = Mutex::default();
    let gap: Mutex<(Instant, Duration)> = Mutex::new((Instant::now(), Duration::ZERO));
    let more = |count: usize| {
        let begun = done.load(Ordering::Relaxed);
        eventually(|| (done.load(Ordering::Relaxed) >= begun + count).then_some(()));
    };
    let longest = |what: &str| {
        let mut gap = gap.lock().unwrap();
        eprintln!("{what}: longest gap {:?}, failed {:?}", gap.1, failed.lock().unwrap());
        gap.1 = Duration::ZERO;
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (client, is_over, done, failed, gap) = (&client, &is_over, &done, &failed, &gap);
                scope.spawn(move || {
                    let path = format!("/api/v1/kv/writer-{writer}");
                    let (mut number, mut acknowledged) = (0, 0);
                    while !is_over.load(Ordering::Relaxed) {
                        number += 1;
                        let written = client.put(&path, &json!({"value": number, "ttl": null}));
                        let read = client.get(&format!("{path}?consistency=replica"));
                        if !matches!(read.status, 200 | 404) {
                            failed.lock().unwrap().push((read.status, read.text()));
                        }
                        if matches!(written.status, 200 | 201) {
                            acknowledged = number;
                            done.fetch_add(1, Ordering::Relaxed);
                            let (now, mut gap) = (Instant::now(), gap.lock().unwrap());
                            *gap = (now, gap.1.max(now - gap.0));
                        } else {
                            failed.lock().unwrap().push((written.status, written.text()));
                        }
                    }
                    (path, acknowledged)
                })
            })
            .collect();
        more(50);
        longest("begin");
        group.hand_over();
        more(50);
        longest("hand-over");
        assert!(failed.lock().unwrap().is_empty(), "{:?}", failed.lock().unwrap());
        let old = group.until_settled();
        group.kill(old);
        eventually(|| group.primary().filter(|new| *new != old));
        more(50);
        longest("primary killed");
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            let (path, acknowledged) = writer.join().unwrap();
            let found = client.get(&path).json()["value"].as_i64().unwrap();
            assert!(found >= acknowledged, "{path}: {acknowledged} was acknowledged, {found} is there");
        }
    });
    // What was under way has no answer; whatever was not sent was held.
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.len() <= 4 && failed.iter().all(|(_, text)| text.contains("outcome_unknown")),
        "{failed:?}"
    );

    let figures = admin.get("/t/acme/diag").json();
    let primary = group.until("a primary", Replicated::primary);
    assert_eq!(figures["redis"]["primary"], json!(group.address(primary)));
    let metrics = admin.metrics(&gateway);
    for result in ["replica_read", "write_confirmed"] {
        let series = format!("kv_replication_operations_total{{result=\"{result}\",tenant=\"acme\"}}");
        assert!(metrics.contains(&series), "{result}: {metrics}");
    }
}

/// The count of a result of reads that a replica may answer.
fn replica_reads(metrics: &str) -> u64 {
    let series = "kv_replication_operations_total{result=\"replica_read\",tenant=\"acme\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(series)).map_or(0, |count| count.parse().unwrap())
}

/// Whether an answer is the one.
type Is<'a> = &'a dyn Fn(&Value) -> bool;

#[test]
fn reads_go_to_a_replica_where_the_tenant_says_so_and_the_request_does_not() {
    let (_group, mut acme) = replicated();
    acme.redis.reads = Reads::Replica;
    acme.cache = Some(Cache { max_bytes: 1 << 20 });
    let gateway = start_with(&[acme.clone()]);
    let client = Client::registered(&gateway, "acme");
    for number in 0..3 {
        let written = client.put(&format!("/api/v1/kv/k{number}"), &json!({"value": number, "ttl": null}));
        assert_eq!(written.status, 201, "{written:?}");
    }
    let count = || replica_reads(&client.metrics(&gateway));
    // How often a replica has answered while this was read ten times.
    let answered = |path: &str, right: Is<'_>| {
        let before = count();
        let is_right = |answer: &Answer| answer.status == 200 && right(&answer.json());
        (0..10).all(|_| is_right(&client.get(path))).then(|| count() - before)
    };
    // A replica may be a little behind at first.
    let again_and_again = |is_there: &dyn Fn() -> bool| {
        eventually(|| (0..20).all(|_| is_there()).then_some(()));
    };
    again_and_again(&|| client.get("/api/v1/kv").json()["total"] == 3);
    again_and_again(&|| client.get("/api/v1/kv/k2").status == 200);

    let entry = |body: &Value| body["value"] == 2;
    let list = |body: &Value| body["total"] == 3;
    let by_replicas: [(&str, Is<'_>); 3] =
        [("/api/v1/kv/k2", &entry), ("/api/v1/kv/k2?consistency=replica", &entry), ("/api/v1/kv", &list)];
    for (path, right) in by_replicas {
        // One that is slow for once is not asked for a second, and may be behind then.
        eventually(|| answered(path, right).filter(|count| *count > 0));
    }
    let by_the_primary: [(&str, Is<'_>); 5] = [
        ("/api/v1/kv/k2?consistency=primary", &entry),
        ("/api/v1/kv?consistency=primary", &list),
        ("/api/v1/kv?consistency=primary&values=true", &list),
        ("/api/v1/kv/k2/exists", &|body: &Value| body["exists"] == true),
        ("/api/v1/kv/stats/count", &|body: &Value| body["count"] == 3),
    ];
    for (path, right) in by_the_primary {
        assert_eq!(answered(path, right), Some(0), "{path}");
    }
    let metrics = client.metrics(&gateway);
    assert!(!metrics.contains("kv_cache_operations_total"), "what a replica gives is kept: {metrics}");
    let first = client.get("/api/v1/kv?limit=1&consistency=primary");
    assert!(first.header("link").contains("consistency=primary"), "{first:?}");
    assert!(!client.get("/api/v1/kv?limit=1").header("link").contains("consistency"));

    // What is written follows from what the primary has, also where a replica would not have it yet.
    for expected in 1..=20 {
        let counted = client.raw("POST", "/api/v1/kv/count/incr", &[], b"");
        assert_eq!(counted.json()["value"], expected);
        let own = client.get("/api/v1/kv/count?consistency=primary");
        assert_eq!(own.json()["value"], expected);
        let patch = [("Content-Type", "application/merge-patch+json")];
        let patched =
            client.raw("PATCH", "/api/v1/kv/k1", &patch, format!("{{\"n\":{expected}}}").as_bytes());
        assert_eq!((patched.status, &patched.json()["value"]["n"]), (200, &json!(expected)), "{patched:?}");
    }

    // The tenant changes its mind while it is served.
    acme.redis.reads = Reads::Primary;
    gateway.set_route(&acme);
    eventually(|| (answered("/api/v1/kv/k2", &entry) == Some(0)).then_some(()));
    eventually(|| answered("/api/v1/kv/k2?consistency=replica", &entry).filter(|count| *count > 0));
}
