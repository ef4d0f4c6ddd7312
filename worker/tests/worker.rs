//! Leases, retries, schedules and the end of real worker processes on a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use std::time::Duration;

use common::{Worker, ended, eventually, queue};
use keystead_kv::queue::{Claims, Ending, Left, NewJob, Report, When};
use keystead_route::hex;
use keystead_tests::{
    collector::{Collector, attribute},
    redis::Server,
};

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

async fn a_schedule_runs_once_a_minute_and_makes_up_for_a_replaced_worker(workers: usize) {
    let server = Server::start();
    let queue = queue(&server);
    let minute = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
    let began = minute();
    let schedules = r#"[{"name":"each","cron":"* * * * *","kind":"kv.export"},{"name":"never","cron":"0 0 30 2 *","kind":"ttl.sweep"}]"#;
    let arguments = ["--schedules", schedules, "--sweep-every", "86400"];
    let _workers: Vec<_> = (0..workers).map(|_| Worker::start(&server, None, &arguments)).collect();
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
    // Long enough for the other workers to have asked as well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let passed = minute() - began;
    assert!(exports().await <= 6 + passed, "a minute's job ran twice");
}

#[tokio::test]
async fn a_schedule_of_two_workers_runs_once_a_minute() {
    a_schedule_runs_once_a_minute_and_makes_up_for_a_replaced_worker(2).await;
}

#[tokio::test]
async fn a_schedule_of_five_workers_runs_once_a_minute() {
    a_schedule_runs_once_a_minute_and_makes_up_for_a_replaced_worker(5).await;
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
    assert!(claims.end(&first[0], &failing(4000)).await.unwrap());
    assert!(!claims.end(&first[0], &failing(4000)).await.unwrap(), "an attempt ends once");
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

/// One call of several ends, each with an outcome of its own.
#[tokio::test]
async fn attempts_that_end_together_are_each_told_what_became_of_them() {
    let server = Server::start();
    let queue = queue(&server);
    let claims = Claims::new(&queue, "w".into(), Duration::from_mins(1));
    for _ in 0..5 {
        queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    }
    let (taken, _) = claims.fetch(5).await.unwrap();
    let [done, _, dead, _, gone] = &taken[..] else { panic!("{taken:?}") };
    assert!(claims.end(gone, &Ending::Dead { error: "before".into() }).await.unwrap());
    // What a job leaves is kept with it or dropped with it, whatever the others of the call do.
    for claim in [done, dead] {
        let left = claims.leave(claim, 0, b"bytes", &Report::default(), 1000).await.unwrap();
        assert_eq!(left, Left::Kept);
    }
    let endings = [
        Ending::Succeeded { result: "[1]".into() },
        Ending::Failed { error: "no luck".into(), retry_after: Duration::from_hours(1) },
        Ending::Dead { error: "no use".into() },
        Ending::Released,
        Ending::Succeeded { result: String::new() },
    ];
    let mut ends: Vec<_> = taken.iter().zip(&endings).collect();
    ends.push((done, &endings[2]));
    // To end is what makes room: a full Redis takes it.
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let told = claims.end_all(&ends).await.unwrap();
    assert_eq!(told, [true, true, true, true, false, false], "gone has ended before, and each ends once");
    let mut found = Vec::new();
    for claim in &taken {
        let job = queue.get(&claim.id).await.unwrap().unwrap();
        found.push((job.status, job.attempts, job.error, job.result.map(|result| result.to_string())));
    }
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        ("succeeded", 1, None, text("[1]")),
        ("scheduled", 1, text("no luck"), None),
        ("dead", 1, text("no use"), None),
        ("pending", 0, None, None),
        ("dead", 1, text("before"), None),
    ];
    assert_eq!(
        found,
        expected.map(|(status, attempts, error, result)| (status.to_owned(), attempts, error, result))
    );
    let mut counts = queue.counts().await.unwrap();
    counts.retain(|(_, count)| *count > 0);
    counts.sort();
    let expected = [("dead", 2), ("pending", 1), ("scheduled", 1), ("succeeded", 1)];
    assert_eq!(counts, expected.map(|(status, count)| (status.to_owned(), count)));
    assert_eq!(server.cli(&["EXISTS", &format!("jobs:{{j}}:parts:{}", done.id)]), "1");
    assert_eq!(server.cli(&["EXISTS", &format!("jobs:{{j}}:parts:{}", dead.id)]), "0");
    assert_eq!(server.cli(&["SCARD", "jobs:{j}:running:w"]), "0");
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
    let done = Ending::Succeeded { result: String::new() };
    let old = claimed.iter().find(|claim| claim.id == lost).unwrap();
    assert!(!claims.end(old, &done).await.unwrap(), "the old claim is void, also from the same worker");
    assert!(claims.end(&again[0], &done).await.unwrap());
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
            let ending = Ending::Succeeded { result: String::new() };
            assert!(claims.end(claim, &ending).await.unwrap());
        }
        taken += batch.len();
    }
    // 500 ms is the connection's time-out: no step came near it, with a million waiting.
    assert_eq!(server.cli(&["ZCARD", "jobs:{j}:finished"]), "5000");
}

#[tokio::test]
async fn progress_is_seen_by_all_and_told_by_who_has_the_job() {
    let server = Server::start();
    let queue = queue(&server);
    let id = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap().id;
    let claims = Claims::new(&queue, "w".into(), Duration::from_millis(500));
    let (first, _) = claims.fetch(1).await.unwrap();
    assert_eq!(queue.get(&id).await.unwrap().unwrap().progress, None);
    let message = "ä".repeat(300);
    let report = Report { percent: Some(40), message: &message, checkpoint: Some("[1,2]") };
    assert!(claims.report(&first[0], &report).await.unwrap());
    let progress = queue.get(&id).await.unwrap().unwrap().progress.unwrap();
    assert_eq!((progress.percent, progress.message), (40, "ä".repeat(200)));
    // A report renews the lease: that of one who only reports never runs out.
    let others = Claims::new(&queue, "other".into(), Duration::from_mins(1));
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(claims.report(&first[0], &Report::default()).await.unwrap());
        assert_eq!(others.fetch(1).await.unwrap().0, []);
    }
    let second = eventually("the job of who is silent", async || {
        others.fetch(1).await.unwrap().0.pop().ok_or_else(String::new)
    })
    .await;
    assert_eq!((second.attempt, second.checkpoint.as_deref()), (2, Some("[1,2]")));
    assert!(!claims.report(&first[0], &report).await.unwrap());
    let left = claims.leave(&first[0], 0, b"late", &report, 1000).await.unwrap();
    assert_eq!((left, queue.parts(&id).await.unwrap()), (Left::Lost, None));
    assert_eq!(others.leave(&second, 0, b"half", &Report::default(), 1000).await.unwrap(), Left::Kept);
    assert_eq!(others.leave(&second, 1, b" a word", &Report::default(), 10).await.unwrap(), Left::TooMuch);
    assert_eq!(queue.parts(&id).await.unwrap(), None, "it is not whole before the job has ended");
    assert!(others.end(&second, &Ending::Succeeded { result: String::new() }).await.unwrap());
    assert_eq!(common::left(&queue, &id).await, "half");
    assert_eq!(queue.get(&id).await.unwrap().unwrap().progress.unwrap().percent, 100);
}
