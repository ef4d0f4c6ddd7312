//! Real worker processes on a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use keystead_kv::{
    Condition, ConnectOptions, Connection, JSON, Keyring, Outcome, Put, Store, Ttl, acl,
    queue::{Claims, Ending, Job, NewJob, Queue, When},
};
use keystead_route::{DataKey, Encryption, Endpoint, hex};
use keystead_tests::{
    collector::{Collector, attribute},
    redis::Server,
};

const PASSWORD: &str = "word-of-the-worker";

struct Worker {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Worker {
    fn start(server: &Server, user: Option<&str>, extra: &[&str]) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystead-worker"));
        command
            .args([
                "--tenant",
                "acme",
                "--redis-address",
                &server.address(),
                "--log-format",
                "text",
                "--log",
                "warn",
            ])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(extra);
        if let Some(user) = user {
            command.args(["--redis-username", user, "--redis-password-file"]).arg(&password);
        }
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Self { child, port, _folder: folder }
    }

    fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    fn page(&self, path: &str) -> Option<(u16, String)> {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut answer = agent.get(format!("http://127.0.0.1:{}{path}", self.port)).call().ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_to_string().ok()?))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(server: &Server, user: Option<&str>) -> Connection {
    let endpoint = Endpoint::Standalone { address: server.address() };
    let password = user.map(|_| PASSWORD.into());
    Connection::open(ConnectOptions::new(endpoint, user.map(str::to_owned), password)).unwrap()
}

fn queue(server: &Server) -> Queue {
    Queue::new(connect(server, None))
}

async fn write(store: &Store, key: &str, value: &[u8], content_type: &str, ttl: Ttl) {
    let put =
        Put { value: value.to_vec().into(), content_type: content_type.into(), tags: BTreeMap::new(), ttl };
    assert!(matches!(store.put(key, &put, &Condition::Any).await.unwrap(), Outcome::Done(_)));
}

/// Asks until the probe gives something; panics after 20 s with what it saw last.
async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(last) => {
                assert!(started.elapsed() < Duration::from_secs(20), "{what} does not come; last: {last}");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ended(queue: &Queue, id: &str, status: &str) -> Job {
    eventually("the end of the job", async || {
        let job = queue.get(id).await.unwrap().unwrap();
        if job.status == status { Ok(job) } else { Err(format!("{job:?}")) }
    })
    .await
}

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
    let lines = String::from_utf8(gateway.result(&queued.id).await.unwrap().unwrap()).unwrap();
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
    let lines = String::from_utf8(queue.result(&export.id).await.unwrap().unwrap()).unwrap();
    assert_eq!(lines.matches("secret word").count(), 1500);
    let raw = server.cli(&["GET", &format!("jobs:{{j}}:job:{}:result", export.id)]);
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
async fn a_job_goes_on_with_the_trace_of_what_has_queued_it() {
    let (server, collector) = (Server::start(), Collector::start());
    let queue = queue(&server);
    let arguments = ["--otlp-endpoint", &collector.endpoint(), "--trace-share", "0"];
    let mut worker = Worker::start(&server, None, &arguments);
    let trace = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    let traced = NewJob { trace, ..NewJob::new("kv.export", "null") };
    let traced = queue.enqueue(&traced).await.unwrap();
    let other = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    for id in [&traced.id, &other.id] {
        ended(&queue, id, "succeeded").await;
    }
    worker.terminate();
    assert!(worker.child.wait().unwrap().success());
    let spans = collector.spans();
    let job: Vec<_> = spans.iter().filter(|span| span.name == "job kv.export").collect();
    assert_eq!(job.len(), 1, "{spans:?}");
    assert_eq!(hex(&job[0].trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&job[0].parent_span_id), "00f067aa0ba902b7");
    assert_eq!(attribute(job[0], "keystead.job.id"), traced.id);
    assert!(
        spans.iter().any(|span| span.name.starts_with("EVALSHA") && span.parent_span_id == job[0].span_id)
    );
}

#[tokio::test]
async fn what_cannot_work_dies_at_once_and_says_why() {
    let server = Server::start();
    let queue = queue(&server);
    let store = Store::new(connect(&server, None));
    write(&store, "big", &[b'1'; 5000], JSON, Ttl::Forever).await;
    let _worker = Worker::start(&server, None, &["--max-result-bytes", "1000"]);
    let unknown = queue.enqueue(&NewJob::new("kv.exprot", "null")).await.unwrap();
    let job = ended(&queue, &unknown.id, "dead").await;
    assert_eq!(job.attempts, 1);
    assert_eq!(
        job.error.unwrap(),
        "there is no kind \"kv.exprot\": the kinds are ttl.sweep, kv.export, kv.reencrypt"
    );
    let large = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    let job = ended(&queue, &large.id, "dead").await;
    assert_eq!(job.error.unwrap(), "the export has more than 1000 bytes: choose a narrower prefix");
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
        let (total, ids) = queue.list(0, 100).await.unwrap();
        if total < 3 {
            return Err(format!("{total}"));
        }
        let mut jobs = Vec::new();
        for id in ids {
            jobs.push(queue.get(&id).await.unwrap().unwrap());
        }
        if jobs.iter().all(|job| job.status == "succeeded") { Ok(jobs) } else { Err(format!("{jobs:?}")) }
    })
    .await;
    let periods = started.elapsed().as_secs() / 2 + 2;
    assert!(jobs.len() as u64 <= periods, "{} sweeps in {periods} periods: {jobs:?}", jobs.len());
    assert!(jobs.iter().all(|job| job.attempts == 1), "{jobs:?}");
    assert_eq!(server.cli(&["ZCARD", "kv:{0}:i"]), "0", "the index still knows expired keys");
}

#[tokio::test]
async fn a_schedule_runs_once_a_minute_however_many_workers_and_makes_up_for_a_replaced_one() {
    let server = Server::start();
    let queue = queue(&server);
    let minute = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
    let began = minute();
    let schedules = r#"[{"name":"each","cron":"* * * * *","kind":"kv.export"},{"name":"never","cron":"0 0 30 2 *","kind":"ttl.sweep"}]"#;
    let arguments = ["--schedules", schedules, "--sweep-every", "86400"];
    let _workers: Vec<_> = (0..2).map(|_| Worker::start(&server, None, &arguments)).collect();
    let exports = async || {
        let (_, ids) = queue.list(0, 100).await.unwrap();
        let mut exports = 0;
        for id in ids {
            exports += u64::from(queue.get(&id).await.unwrap().unwrap().kind == "kv.export");
        }
        exports
    };
    eventually("this minute and the five before it", async || {
        let exports = exports().await;
        if exports >= 6 { Ok(()) } else { Err(exports.to_string()) }
    })
    .await;
    // Long enough for the second worker to have asked as well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let passed = minute() - began;
    assert!(exports().await <= 6 + passed, "a minute's job ran twice");
}

#[tokio::test]
async fn a_killed_workers_jobs_are_done_by_another() {
    let server = Server::start();
    let queue = queue(&server);
    let id = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap().id;
    let lost =
        queue.enqueue(&NewJob { max_attempts: 1, ..NewJob::new("kv.export", "null") }).await.unwrap().id;
    // A worker that takes jobs and is never heard of again, as one killed in the middle.
    let dead = Claims::new(&queue, "dead".into(), Duration::from_millis(500));
    let (claims, _) = dead.fetch(10).await.unwrap();
    assert_eq!(claims.len(), 2);
    let _worker = Worker::start(&server, None, &[]);
    let job = ended(&queue, &id, "succeeded").await;
    assert_eq!(job.attempts, 2);
    let job = ended(&queue, &lost, "dead").await;
    assert_eq!(job.error.as_deref(), Some("its worker died"));
    // The dead one comes back: it has lost the job.
    let ending = Ending::Dead { error: "too late".into() };
    assert!(!dead.end(&claims[0], &ending).await.unwrap());
    assert_eq!(queue.get(&id).await.unwrap().unwrap().status, "succeeded");
}

#[tokio::test]
async fn failures_are_retried_later_and_then_dead_and_can_be_run_again() {
    let server = Server::start();
    let queue = queue(&server);
    let claims = Claims::new(&queue, "w".into(), Duration::from_mins(1));
    let id = queue.enqueue(&NewJob { max_attempts: 2, ..NewJob::new("kv.export", "null") }).await.unwrap().id;
    let failing =
        |after| Ending::Failed { error: "no luck".into(), retry_after: Duration::from_millis(after) };
    let (first, _) = claims.fetch(1).await.unwrap();
    assert!(claims.end(&first[0], &failing(300)).await.unwrap());
    assert!(!claims.end(&first[0], &failing(300)).await.unwrap(), "an attempt ends once");
    let job = queue.get(&id).await.unwrap().unwrap();
    assert_eq!((job.status.as_str(), job.attempts, job.error.as_deref()), ("scheduled", 1, Some("no luck")));
    assert!(claims.fetch(1).await.unwrap().0.is_empty(), "not before its time");
    let second = eventually("the second attempt", async || {
        claims.fetch(1).await.unwrap().0.pop().ok_or_else(String::new)
    })
    .await;
    assert_eq!(second.attempt, 2);
    assert!(claims.end(&second, &failing(0)).await.unwrap());
    assert_eq!(queue.get(&id).await.unwrap().unwrap().status, "dead");
    queue.retry(&id).await.unwrap();
    let _worker = Worker::start(&server, None, &[]);
    assert_eq!(ended(&queue, &id, "succeeded").await.attempts, 1);
}

#[tokio::test]
async fn a_job_that_never_came_goes_back_although_its_worker_lives() {
    let server = Server::start();
    let queue = queue(&server);
    let claims = Claims::new(&queue, "w".into(), Duration::from_millis(300));
    let (lost, kept) = (NewJob::new("kv.export", "null"), NewJob::new("ttl.sweep", "null"));
    let lost = queue.enqueue(&lost).await.unwrap().id;
    let kept = queue.enqueue(&kept).await.unwrap().id;
    // The answer with the first of them is lost on its way.
    let (claimed, _) = claims.fetch(10).await.unwrap();
    let held = [kept.clone()];
    eventually("the lost job is taken back", async || match claims.renew(&held).await.unwrap() {
        1 => Ok(()),
        other => Err(format!("{other}")),
    })
    .await;
    assert_eq!(queue.get(&kept).await.unwrap().unwrap().status, "running");
    let (again, _) = claims.fetch(10).await.unwrap();
    assert_eq!(
        again.iter().map(|claim| (claim.id.as_str(), claim.attempt)).collect::<Vec<_>>(),
        [(lost.as_str(), 2)]
    );
    let done = Ending::Succeeded { result: String::new(), bytes: Vec::new() };
    let old = claimed.iter().find(|claim| claim.id == lost).unwrap();
    assert!(!claims.end(old, &done).await.unwrap(), "the old claim is void, also from the same worker");
    assert!(claims.end(&again[0], &done).await.unwrap());
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

#[tokio::test]
async fn scheduled_and_urgent_jobs_come_in_their_order() {
    let server = Server::start();
    let queue = queue(&server);
    let claims = Claims::new(&queue, "w".into(), Duration::from_mins(1));
    let add = async |priority, when| {
        queue.enqueue(&NewJob { priority, when, ..NewJob::new("kv.export", "null") }).await.unwrap().id
    };
    let usual = add(5, When::Now).await;
    let urgent = add(9, When::Now).await;
    let _later = add(9, When::After(Duration::from_hours(1))).await;
    let past = add(9, When::At(1)).await;
    let (taken, left) = claims.fetch(10).await.unwrap();
    let ids: Vec<&str> = taken.iter().map(|claim| claim.id.as_str()).collect();
    assert_eq!((ids, left), (vec![urgent.as_str(), &past, &usual], 0));
    let once = async || {
        let job = NewJob::new("ttl.sweep", "null");
        queue.enqueue_once(&job, "sweep:1", Duration::from_mins(1)).await.unwrap()
    };
    let first = once().await;
    assert_eq!((once().await.id, once().await.status), (first.id, None));
}

#[tokio::test]
async fn sigterm_ends_what_runs_and_redis_may_come_and_go() {
    let mut server = Server::durable();
    let queue = queue(&server);
    let mut worker = Worker::start(&server, None, &["--shutdown-grace", "600"]);
    let first = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap().id;
    ended(&queue, &first, "succeeded").await;
    server.kill();
    eventually("unready", async || {
        let page = worker.page("/health/ready");
        if page.as_ref().is_some_and(|page| page.0 == 503) { Ok(()) } else { Err(format!("{page:?}")) }
    })
    .await;
    assert_eq!(worker.page("/health/live").unwrap().0, 200);
    server.revive();
    let second = eventually("the queue takes a job", async || {
        queue.enqueue(&NewJob::new("kv.export", "null")).await.map_err(|error| error.to_string())
    })
    .await;
    ended(&queue, &second.id, "succeeded").await;
    // With nothing to do it does not wait for its grace.
    worker.terminate();
    let status =
        eventually("its end", async || worker.child.try_wait().unwrap().ok_or("it runs".into())).await;
    assert!(status.success());
}

#[tokio::test]
async fn a_backlog_of_a_million_due_jobs_is_worked_off_in_bounded_steps() {
    let server = Server::start();
    let queue = queue(&server);
    // Written by Redis itself, in batches: what is tested is how they are taken out.
    let fill = "for i = 1, 10000 do local id = ARGV[1] .. ':' .. i \
                redis.call('HSET', 'jobs:{j}:job:' .. id, 'kind', 'ttl.sweep', 'payload', 'null', 'status', 'scheduled', \
                'priority', 5, 'attempts', 0, 'max_attempts', 5, 'run_at', 1, 'created', 1) \
                redis.call('ZADD', 'jobs:{j}:scheduled', 1, id) end";
    for batch in 0..100 {
        server.cli(&["EVAL", fill, "0", &batch.to_string()]);
    }
    assert_eq!(server.cli(&["ZCARD", "jobs:{j}:scheduled"]), "1000000");
    let claims = Claims::new(&queue, "w".into(), Duration::from_mins(1));
    let mut taken = 0;
    while taken < 5000 {
        let (batch, _) = claims.fetch(100).await.unwrap();
        assert!(!batch.is_empty(), "nothing is handed out after {taken}");
        for claim in &batch {
            let ending = Ending::Succeeded { result: String::new(), bytes: Vec::new() };
            assert!(claims.end(claim, &ending).await.unwrap());
        }
        taken += batch.len();
    }
    // 500 ms is the connection's time-out: no step came near it, with a million waiting.
    assert_eq!(server.cli(&["ZCARD", "jobs:{j}:finished"]), "5000");
}
