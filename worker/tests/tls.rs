//! A worker whose Redis is reached by TLS.
#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

mod common;

use common::{PASSWORD, Worker, ended};
use keystead_kv::{
    ConnectOptions, Connection, acl,
    queue::{NewJob, Queue},
};
use keystead_route::{Endpoint, Tls};
use keystead_tests::{authority::Authority, redis::Server};

#[tokio::test]
async fn a_worker_does_its_jobs_where_it_trusts_redis() {
    let authority = Authority::new("ours");
    let user = |name: &str, rules: &str| format!("user {name} on >{PASSWORD} {rules}");
    let users = [user("gateway", acl::GATEWAY), user("worker", acl::WORKER)];
    let server = Server::with_tls(&users.each_ref().map(String::as_str), &authority);
    let endpoint = Endpoint::Standalone { address: server.address() };
    let mut options = ConnectOptions::new(endpoint, Some("gateway".into()), Some(PASSWORD.into()));
    options.tls = Some(Tls { ca: authority.pem() });
    let queue = Queue::new(Connection::open(options).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, authority.pem()).unwrap();
    let _worker = Worker::start(&server, Some("worker"), &["--redis-ca-file", file.to_str().unwrap()]);
    let job = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    ended(&queue, &job.id, "succeeded").await;
}
