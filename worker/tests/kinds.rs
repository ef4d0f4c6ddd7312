//! What each kind of job does, in real worker processes on a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use std::{collections::BTreeMap, process::Command, time::Instant};

use common::{PASSWORD, Worker, connect, ended, eventually, left, queue, write};
use keystead_kv::{
    Condition, JSON, Keyring, Put, Store, Ttl, acl,
    queue::{Job, NewJob, Queue},
    usage::Usage,
};
use keystead_route::{DataKey, Encryption};
use keystead_tests::redis::Server;

#[tokio::test]
async fn an_export_runs_as_the_acl_user_and_leaves_its_lines() {
    let server = Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ]);
    let (gateway, store) =
        (Queue::new(connect(&server, Some("gateway"))), Store::new(connect(&server, Some("gateway"))));
    write(&store, "a/1", b"{\"n\":1.0}", JSON, Ttl::Forever).await;
    write(&store, "a/2", b"\xff\x00", "application/octet-stream", Ttl::Forever).await;
    write(&store, "b", b"2", JSON, Ttl::Forever).await;
    let worker = Worker::start(&server, Some("worker"), &[]);
    let queued = gateway.enqueue(&NewJob::new("kv.export", r#"{"prefix":"a/"}"#)).await.unwrap();
    let job = ended(&gateway, &queued.id, "succeeded").await;
    assert_eq!((job.attempts, job.error), (1, None));
    let lines = left(&gateway, &queued.id).await;
    let values: Vec<&str> = lines.lines().map(|line| line.split_once(",\"metadata\"").unwrap().0).collect();
    assert_eq!(values, [r#"{"key":"a/1","value":{"n":1.0}"#, r#"{"key":"a/2","value":{"$base64":"/wA="}"#]);
    let summary = job.result.unwrap();
    assert!(summary.get().contains("\"entries\":2"), "{summary}");
    assert_eq!(worker.page("/health/ready").unwrap().0, 200);
    let metrics = worker.page("/metrics").unwrap().1;
    assert!(metrics.contains("background_tasks_total{status=\"success\",task=\"kv.export\"} 1"), "{metrics}");
}

#[tokio::test]
async fn values_are_encrypted_anew_after_a_change_of_keys_and_results_are_encrypted() {
    let server = Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let names = ["encryption-key-1", "encryption-key-2"];
    let secrets =
        ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="];
    let keys: Vec<DataKey> = names
        .iter()
        .zip(secrets)
        .map(|(name, secret)| DataKey { name: (*name).into(), secret: secret.into() })
        .collect();
    for key in &keys {
        std::fs::write(folder.path().join(&key.name), key.secret.expose()).unwrap();
    }
    let keyring = |keys: &[DataKey], active: &str| {
        Keyring::new(&Encryption { keys: keys.to_vec(), active_key: Some(active.into()) }).unwrap()
    };
    let store = |ring: Option<Keyring>| Store::new(connect(&server, Some("gateway"))).with_keyring(ring);
    for n in 0..1500 {
        let ring = (n % 2 == 0).then(|| keyring(&keys, names[0]));
        write(&store(ring), &format!("k{n}"), b"\"secret word\"", JSON, Ttl::Forever).await;
    }
    let folder_path = folder.path().to_str().unwrap();
    let arguments =
        ["--encryption-keys", folder_path, "--encryption-key", names[1], "--encryption-change-over", "1"];
    let _workers = [(); 2].map(|()| Worker::start(&server, Some("worker"), &arguments));
    let newest = store(Some(keyring(&keys[1..], names[1])));
    eventually("the re-encryption", async || {
        if newest.is_resealed().await.unwrap() { Ok(()) } else { Err(String::new()) }
    })
    .await;
    for n in [0, 1, 999, 1499] {
        let entry = newest.get(&format!("k{n}")).await.unwrap().unwrap();
        assert_eq!((&entry.value[..], entry.metadata.version), (&b"\"secret word\""[..], 1));
    }
    let queue = Queue::new(connect(&server, Some("gateway"))).with_keyring(Some(keyring(&keys, names[1])));
    // A job for another key is not done by who does not have that as its own.
    let other = NewJob { max_attempts: 1, ..NewJob::new("kv.reencrypt", r#"{"target":"00"}"#) };
    let other = ended(&queue, &queue.enqueue(&other).await.unwrap().id, "dead").await;
    assert_eq!(other.error.unwrap(), "this worker has another encryption key than the job is for");
    let export = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    ended(&queue, &export.id, "succeeded").await;
    let lines = left(&queue, &export.id).await;
    assert_eq!(lines.matches("secret word").count(), 1500);
    let raw = server.cli(&["GET", &format!("jobs:{{j}}:part:{}:0", export.id)]);
    assert!(!raw.is_empty() && !raw.contains("secret word"));
    let kinds: Vec<Job> = queue.get_all(&queue.list(0, 100).await.unwrap().1).await.unwrap();
    let done = kinds.iter().filter(|job| job.kind == "kv.reencrypt" && job.status == "succeeded");
    assert_eq!(done.count(), 1, "once for two workers");
}

#[test]
fn keys_that_are_none_stop_the_start_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("encryption-key-1"), "short").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_keystead-worker"))
        .args([
            "--tenant",
            "acme",
            "--redis-address",
            "127.0.0.1:1",
            "--log-format",
            "text",
            "--encryption-keys",
        ])
        .arg(folder.path())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(log.contains("the encryption key \"encryption-key-1\" is not 32 bytes in base64"), "{log}");
}

#[tokio::test]
async fn what_cannot_work_dies_at_once_and_says_why() {
    let server = Server::start();
    let queue = queue(&server);
    let store = Store::new(connect(&server, None));
    write(&store, "big", &[b'1'; 5000], JSON, Ttl::Forever).await;
    let _worker = Worker::start(&server, None, &["--max-result-bytes", "50"]);
    let unknown = queue.enqueue(&NewJob::new("kv.exprot", "null")).await.unwrap();
    let job = ended(&queue, &unknown.id, "dead").await;
    assert_eq!(job.attempts, 1);
    assert_eq!(
        job.error.unwrap(),
        "there is no kind \"kv.exprot\": the kinds are ttl.sweep, kv.export, kv.import, kv.delete, kv.reencrypt, audit.flush, usage.snapshot, webhook"
    );
    let large = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    let job = ended(&queue, &large.id, "dead").await;
    assert_eq!(
        job.error.unwrap(),
        "the result has more than 50 bytes when it is compressed: choose a narrower prefix"
    );
}

#[tokio::test]
async fn one_sweep_runs_a_period_however_many_workers() {
    let server = Server::start();
    let queue = queue(&server);
    let store = Store::new(connect(&server, None));
    for n in 0..50 {
        write(&store, &format!("k{n}"), b"1", JSON, Ttl::Seconds(1)).await;
    }
    eventually("the keys expire", async || {
        if store.exists("k49").await.unwrap() { Err(String::new()) } else { Ok(()) }
    })
    .await;
    let started = Instant::now();
    let _workers: Vec<Worker> =
        (0..3).map(|_| Worker::start(&server, None, &["--sweep-every", "2"])).collect();
    let jobs = eventually("three sweeps", async || {
        let (_, ids) = queue.list(0, 100).await.unwrap();
        let mut jobs = queue.get_all(&ids).await.unwrap();
        jobs.retain(|job| job.kind == "ttl.sweep");
        if jobs.len() >= 3 && jobs.iter().all(|job| job.status == "succeeded") {
            Ok(jobs)
        } else {
            Err(format!("{jobs:?}"))
        }
    })
    .await;
    let periods = started.elapsed().as_secs() / 2 + 2;
    assert!(jobs.len() as u64 <= periods, "{} sweeps in {periods} periods: {jobs:?}", jobs.len());
    assert!(jobs.iter().all(|job| job.attempts == 1), "{jobs:?}");
    assert_eq!(server.cli(&["ZCARD", "kv:{0}:i"]), "0", "the index still knows expired keys");
}

#[tokio::test]
async fn what_a_tenant_uses_is_looked_at_each_period_and_kept() {
    let server = Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ]);
    let connection = connect(&server, Some("gateway"));
    let (queue, store) = (Queue::new(connection.clone()), Store::new(connection.clone()));
    for n in 0..3 {
        write(&store, &format!("k{n}"), &vec![b'1'; 100_000], JSON, Ttl::Forever).await;
    }
    let patient = NewJob { priority: 1, ..NewJob::new("kv.export", "null") };
    queue.enqueue(&patient).await.unwrap();
    let look = async || Usage::observe(&connection, &store).await.unwrap();
    eventually("a job that waits", async || {
        let seen = look().await;
        if seen.queue_age_ms >= 50 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    // One that is more urgent does not hide it.
    queue.enqueue(&NewJob { priority: 9, ..patient }).await.unwrap();
    let seen = look().await;
    assert_eq!((seen.keys, seen.queue_depth, seen.replication_lag_bytes), (3, 2, None));
    assert!(seen.queue_age_ms >= 50 && seen.memory_bytes > 300_000 && seen.connections > 0, "{seen:?}");
    assert_eq!(Usage::last(&connection).await.unwrap(), None);
    let _worker = Worker::start(&server, Some("worker"), &["--usage-every", "1"]);
    let kept = |after: u64, depth: u64| {
        let connection = connection.clone();
        async move {
            eventually("another look", async || match Usage::last(&connection).await.unwrap() {
                Some(usage) if usage.observed_at > after && usage.queue_depth == depth => Ok(usage),
                usage => Err(format!("{usage:?}")),
            })
            .await
        }
    };
    let first = kept(0, 0).await;
    let second = kept(first.observed_at, 0).await;
    assert_eq!((second.keys, second.queue_age_ms), (3, 0));
}

#[tokio::test]
async fn a_full_redis_still_sweeps() {
    let server = Server::with(&["--save", "", "--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]);
    let (queue, store) = (queue(&server), Store::new(connect(&server, None)));
    let sweep = queue.enqueue(&NewJob::new("ttl.sweep", "null")).await.unwrap().id;
    let full = Put {
        value: vec![b'1'; 300_000].into(),
        content_type: JSON.into(),
        tags: BTreeMap::new(),
        ttl: Ttl::Forever,
    };
    let mut written = 0;
    while store.put(&format!("big-{written}"), &full, &Condition::Any).await.is_ok() {
        written += 1;
        assert!(written < 100, "maxmemory does not hold");
    }
    let _worker = Worker::start(&server, None, &[]);
    ended(&queue, &sweep, "succeeded").await;
}
