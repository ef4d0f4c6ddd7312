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

use client::{Client, eventually, owned, start_with};
use keystead_kv::acl;
use keystead_route::Durability;
use keystead_tests::{gateway::route, replicated::Replicated};
use serde_json::json;

#[test]
fn clients_see_no_hand_over_and_get_back_what_was_acknowledged_before_a_crash() {
    let (redis, sentinel) = (
        format!("user gateway on >word {}", acl::GATEWAY),
        format!("user gateway on >word {}", acl::SENTINEL_CLIENT),
    );
    let mut group = Replicated::start(3, &[&redis], &[&sentinel]);
    let mut acme = route("acme", "");
    acme.redis.endpoint = group.endpoint();
    acme.redis.username = Some("gateway".into());
    acme.redis.password = Some("word".into());
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
