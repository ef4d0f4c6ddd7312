//! What a worker's jobs say of whether their tenant is used, on a real Redis with the rights of the tenant's users.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use common::{PASSWORD, Worker, connect, ended};
use keystead_kv::{
    acl,
    queue::{NewJob, Queue},
};
use keystead_tests::redis::Server;

fn server() -> Server {
    Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ])
}

async fn done(queue: &Queue, kind: &str) {
    let id = queue.enqueue(&NewJob::new(kind, "null")).await.unwrap().id;
    ended(queue, &id, "succeeded").await;
}

#[tokio::test]
async fn a_job_is_a_use_of_the_tenant_and_what_a_worker_has_by_itself_is_none() {
    let server = server();
    let queue = Queue::new(connect(&server, Some("gateway")));
    let _worker = Worker::start(&server, Some("worker"), &["--may-sleep"]);
    done(&queue, "ttl.sweep").await;
    done(&queue, "usage.snapshot").await;
    assert_eq!(server.cli(&["EXISTS", "jobs:{j}:used"]), "0");
    done(&queue, "kv.export").await;
    let used: u64 = server.cli(&["GET", "jobs:{j}:used"]).parse().unwrap();
    let now: u64 = server.cli(&["TIME"]).lines().next().unwrap().parse().unwrap();
    assert!(used > 0 && used / 1000 <= now, "{used} beside {now}");
}

#[tokio::test]
async fn of_a_tenant_that_never_sleeps_nothing_is_noted() {
    let server = server();
    let queue = Queue::new(connect(&server, Some("gateway")));
    let _worker = Worker::start(&server, Some("worker"), &[]);
    done(&queue, "kv.export").await;
    assert_eq!(server.cli(&["EXISTS", "jobs:{j}:used"]), "0");
}
