//! Real workers that are killed again and again while jobs run: each job is done, none is lost, and what was done more than
//! once is counted.
//!
//! `KEYSTEAD_FAULT_JOBS=10000 cargo test -p keystead-worker --test killed -- --nocapture` is the long form.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use std::collections::VecDeque;

use common::{PASSWORD, Worker, connect, counted};
use keystead_kv::{Store, acl, queue::Queue};
use keystead_tests::redis::Server;

/// So many jobs are done between one death and the next.
const JOBS_PER_DEATH: usize = 150;

async fn each_job_is_done_although_workers_die(workers: usize) {
    let server = Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ]);
    let connection = connect(&server, Some("gateway"));
    let (queue, store) = (Queue::new(connection.clone()), Store::new(connection));
    let jobs = counted::jobs();
    let queued: Vec<(usize, String)> =
        counted::enqueue_all(&queue, jobs).await.into_iter().enumerate().collect();
    let start = || Worker::start(&server, Some("worker"), &["--concurrency", "8"]);
    let mut living: VecDeque<Worker> = (0..workers).map(|_| start()).collect();
    let deaths = jobs / JOBS_PER_DEATH;
    for death in 1..=deaths {
        let done = u64::try_from((death * JOBS_PER_DEATH).min(jobs * 9 / 10)).unwrap();
        counted::until(&queue, "the next death", |counts| counts.succeeded >= done).await;
        // Dropped: SIGKILL. The others go on, and another one comes.
        drop(living.pop_front());
        living.push_back(start());
    }
    let counts = counted::until(&queue, "the end of all jobs", |counts| counts.open == 0).await;
    let tally = counted::tally(&queue, &store, &queued).await;
    println!(
        "{workers} workers, {deaths} killed while {jobs} jobs ran: {} attempts were begun again, {} jobs were done again, {} lost",
        tally.begun_again,
        tally.done_again,
        tally.lost.len()
    );
    assert!(tally.lost.is_empty() && tally.failed.is_empty(), "{counts:?} {tally:?}");
    assert_eq!(counts.failed, 0, "{tally:?}");
    assert!(tally.begun_again > 0, "no worker died in the middle of a job: the test has shown nothing");
    assert_eq!(server.cli(&["KEYS", "jobs:{j}:running:*"]), "", "nobody has a job any more");
    for name in ["ready", "scheduled"] {
        assert_eq!(server.cli(&["ZCARD", &format!("jobs:{{j}}:{name}")]), "0", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_is_done_although_one_of_two_workers_dies_again_and_again() {
    each_job_is_done_although_workers_die(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_is_done_although_one_of_five_workers_dies_again_and_again() {
    each_job_is_done_although_workers_die(5).await;
}
