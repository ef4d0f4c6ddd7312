//! Real worker processes on several Redis, whose primary is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use common::{PASSWORD, Worker, counted, ended};
use futures::{StreamExt as _, stream};
use keystead_kv::{
    ConnectOptions, Connection, Store, acl,
    queue::{NewJob, Queue},
};
use keystead_route::{Durability, Endpoint};
use keystead_tests::replicated::Replicated;

fn group() -> Replicated {
    let redis = [
        format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ];
    let sentinel =
        ["gateway", "worker"].map(|it| format!("user {it} on >{PASSWORD} {}", acl::SENTINEL_CLIENT));
    Replicated::start(3, &redis.each_ref().map(String::as_str), &sentinel.each_ref().map(String::as_str))
}

fn worker(group: &Replicated, further: &[&str]) -> Worker {
    let Endpoint::Replicated { primary_name, sentinels, members, .. } = group.endpoint() else {
        panic!("not replicated")
    };
    let (sentinels, members) = (sentinels.join(","), members.join(","));
    let redis = ["--redis-primary-name", &primary_name, "--redis-sentinels", &sentinels];
    let durable = ["--redis-members", &members, "--redis-durability", "Replicated"];
    Worker::start_at(&redis, Some("worker"), &[&durable[..], further].concat())
}

fn connect(group: &Replicated) -> Connection {
    let mut options = ConnectOptions::new(group.endpoint(), Some("gateway".into()), Some(PASSWORD.into()));
    options.durability = Durability::Replicated;
    Connection::open(options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_done_before_and_after_a_failover() {
    let mut group = group();
    let _worker = worker(&group, &[]);
    let queue = Queue::new(connect(&group));
    for _ in 0..2 {
        let job = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
        ended(&queue, &job.id, "succeeded").await;
        let primary = group.until_settled();
        group.kill(primary);
        let job = loop {
            // One whose answer is lost may be queued all the same.
            if let Ok(job) = queue.enqueue(&NewJob::new("kv.export", "null")).await {
                break job;
            }
        };
        ended(&queue, &job.id, "succeeded").await;
        group.revive(primary);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_that_was_taken_is_lost_by_failovers_while_jobs_are_queued_and_run() {
    const FAILOVERS: u64 = 2;
    let mut group = group();
    let connection = connect(&group);
    let (queue, store) = (Queue::new(connection.clone()), Store::new(connection));
    let _workers = [(); 2].map(|()| worker(&group, &["--concurrency", "8"]));
    let jobs = counted::jobs();
    let queueing = {
        let queue = queue.clone();
        tokio::spawn(async move {
            let asked = stream::iter(0..jobs);
            let asked = asked.map(|number| {
                let queue = queue.clone();
                async move { (number, counted::enqueue(&queue, number).await) }
            });
            asked.buffer_unordered(16).collect::<Vec<_>>().await
        })
    };
    for failover in 1..=FAILOVERS {
        let done = jobs as u64 * failover / (FAILOVERS + 2);
        counted::until(&queue, "jobs before the failover", |counts| counts.succeeded >= done).await;
        let primary = group.until_settled();
        group.kill(primary);
        let before = counted::until(&queue, "an answer of the next primary", |_| true).await.succeeded;
        counted::until(&queue, "a job that is done by the next primary", |it| it.succeeded > before).await;
        group.revive(primary);
    }
    let (taken, refused): (Vec<_>, Vec<_>) =
        queueing.await.unwrap().into_iter().partition(|(_, queued)| queued.is_ok());
    let taken: Vec<(usize, String)> =
        taken.into_iter().map(|(number, queued)| (number, queued.unwrap())).collect();
    let counts = counted::until(&queue, "the end of all jobs", |counts| counts.open == 0).await;
    let tally = counted::tally(&queue, &store, &taken).await;
    println!(
        "{FAILOVERS} failovers while {jobs} jobs were queued and run: {} taken, {} attempts were begun again, {} jobs were done again, {} lost",
        taken.len(),
        tally.begun_again,
        tally.done_again,
        tally.lost.len()
    );
    assert!(tally.lost.is_empty() && tally.failed.is_empty(), "{counts:?} {tally:?} {refused:?}");
    assert!(taken.len() * 2 > jobs, "most are taken: {refused:?}");
}
