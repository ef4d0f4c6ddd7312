//! Schedules of the tenant's own, run by several real worker processes on a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use std::collections::BTreeMap;

use common::{PASSWORD, Worker, connect, eventually, queue};
use keystead_kv::{
    acl,
    queue::{NewSchedule, PutSchedule, Queue, ScheduleName},
};
use keystead_tests::redis::Server;

/// Due once a year: within a test it runs when the test sets its time.
async fn schedule(queue: &Queue) -> ScheduleName {
    let name: ScheduleName = "yearly".parse().unwrap();
    let schedule =
        NewSchedule { cron: "0 0 1 1 *".parse().unwrap(), kind: "kv.export".into(), payload: "null".into() };
    assert_eq!(queue.put_schedule(&name, &schedule).await.unwrap(), PutSchedule::Created);
    name
}

async fn exports(queue: &Queue) -> u64 {
    let ids = queue.list(0, 1000).await.unwrap().1;
    queue.get_all(&ids).await.unwrap().iter().filter(|job| job.kind == "kv.export").count() as u64
}

async fn each_run_is_queued_once(workers: usize) {
    const RUNS: u64 = 8;
    let server = Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ]);
    let queue = Queue::new(connect(&server, Some("gateway")));
    let name = schedule(&queue).await;
    let workers: Vec<Worker> =
        (0..workers).map(|_| Worker::start(&server, Some("worker"), &["--sweep-every", "86400"])).collect();
    for _ in 0..RUNS {
        // Due since 1970: all the times that nobody made use of are one run.
        let before = queue.schedule(&name).await.unwrap().unwrap();
        server.cli(&["ZADD", "jobs:{j}:schedules", "1000", "yearly"]);
        let after = eventually("the run", async || {
            let now = queue.schedule(&name).await.unwrap().unwrap();
            let is_run = now.last_job_id != before.last_job_id && now.next_run_at > 1000;
            if is_run { Ok(now) } else { Err(format!("{now:?}")) }
        })
        .await;
        assert!(after.next_run_at > after.last_run_at.unwrap(), "{after:?}");
    }
    // What a second worker would have queued is there when all have ended.
    for worker in &workers {
        worker.terminate();
    }
    for mut worker in workers {
        assert!(worker.child.wait().unwrap().success());
    }
    assert_eq!(exports(&queue).await, RUNS);
}

#[tokio::test]
async fn two_workers_queue_each_run_once() {
    each_run_is_queued_once(2).await;
}

#[tokio::test]
async fn five_workers_queue_each_run_once() {
    each_run_is_queued_once(5).await;
}

/// What every worker asks for by itself, of which the queue takes one for each period.
async fn each_period_has_one_job(workers: usize) {
    const PERIODS: usize = 5;
    let server = Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ]);
    let queue = Queue::new(connect(&server, Some("gateway")));
    let workers: Vec<Worker> =
        (0..workers).map(|_| Worker::start(&server, Some("worker"), &["--sweep-every", "2"])).collect();
    // The name of a period is remembered for three of them, with the job that has it.
    let mut jobs = BTreeMap::new();
    let mut look = || {
        for name in server.cli(&["KEYS", "jobs:{j}:once:ttl.sweep:*"]).lines().filter(|it| !it.is_empty()) {
            let job = server.cli(&["GET", name]);
            if !job.is_empty() {
                jobs.entry(name.to_owned()).or_insert(job);
            }
        }
        jobs.clone()
    };
    eventually("the periods", async || {
        let jobs = look();
        if jobs.len() >= PERIODS { Ok(()) } else { Err(format!("{jobs:?}")) }
    })
    .await;
    for worker in &workers {
        worker.terminate();
    }
    for mut worker in workers {
        assert!(worker.child.wait().unwrap().success());
    }
    let mut named: Vec<String> = look().into_values().collect();
    let ids = queue.list(0, 1000).await.unwrap().1;
    let sweeps = queue.get_all(&ids).await.unwrap().into_iter().filter(|job| job.kind == "ttl.sweep");
    let mut queued: Vec<String> = sweeps.map(|job| job.id).collect();
    named.sort();
    queued.sort();
    assert_eq!(queued, named, "one job for each period");
}

#[tokio::test]
async fn of_two_workers_each_period_has_one_job() {
    each_period_has_one_job(2).await;
}

#[tokio::test]
async fn of_five_workers_each_period_has_one_job() {
    each_period_has_one_job(5).await;
}

#[tokio::test]
async fn of_those_who_see_a_run_due_at_the_same_time_one_queues_it() {
    let server = Server::start();
    let queue = queue(&server);
    schedule(&queue).await;
    let others: Vec<Queue> = (0..8).map(|_| common::queue(&server)).collect();
    for _ in 0..50 {
        server.cli(&["ZADD", "jobs:{j}:schedules", "1000", "yearly"]);
        let asked = others.iter().map(Queue::run_schedules);
        let queued: u32 = futures::future::join_all(asked).await.into_iter().map(Result::unwrap).sum();
        assert_eq!(queued, 1);
    }
    assert_eq!(exports(&queue).await, 50);
}

#[tokio::test]
async fn a_removed_schedule_queues_nothing_and_a_full_queue_takes_its_run_later() {
    let server = Server::start();
    let queue = queue(&server);
    let name = schedule(&queue).await;
    server.cli(&["ZADD", "jobs:{j}:schedules", "1000", "yearly"]);
    let fill = "for i = 1, 100000 do redis.call('ZADD', KEYS[1], 1e15, ARGV[1] .. ':' .. i) end";
    for batch in 0..20 {
        server.cli(&["EVAL", fill, "1", "jobs:{j}:scheduled", &batch.to_string()]);
    }
    let refused = queue.run_schedules().await.unwrap_err().to_string();
    assert!(refused.starts_with("2000000 jobs wait in the tenant's queue"), "{refused}");
    server.cli(&["DEL", "jobs:{j}:scheduled"]);
    assert_eq!(queue.run_schedules().await.unwrap(), 1);
    server.cli(&["ZADD", "jobs:{j}:schedules", "1000", "yearly"]);
    assert!(queue.remove_schedule(&name).await.unwrap());
    assert_eq!((queue.run_schedules().await.unwrap(), exports(&queue).await), (0, 1));
}
