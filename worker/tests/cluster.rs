//! A real worker process on a Redis Cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use common::{PASSWORD, Worker, ended, left, write};
use keystead_kv::{
    ConnectOptions, Connection, JSON, Store, Ttl, acl,
    queue::{NewJob, Queue},
};
use keystead_route::Endpoint;
use keystead_tests::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_reads_the_entries_of_all_shards_in_order() {
    let users = [("gateway", acl::GATEWAY), ("worker", acl::WORKER)]
        .map(|(user, rules)| format!("user {user} on >{PASSWORD} {rules} {}", acl::CLUSTER));
    let cluster = Cluster::start(3, 0, 0, &users.each_ref().map(String::as_str));
    let endpoint = cluster.endpoint();
    let Endpoint::Cluster { shards } = &endpoint else { panic!("no cluster") };
    let shards: Vec<String> = shards.iter().map(|members| members.join(",")).collect();
    let _worker = Worker::start_at(&["--redis-shards", &shards.join(";")], Some("worker"), &[]);
    let options = ConnectOptions::new(endpoint.clone(), Some("gateway".into()), Some(PASSWORD.into()));
    let connection = Connection::open(options).unwrap();
    let store = Store::new(connection.clone());
    for number in 0..50 {
        write(&store, &format!("k{number:02}"), b"1", JSON, Ttl::Forever).await;
    }
    let queue = Queue::new(connection);
    let job = queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    ended(&queue, &job.id, "succeeded").await;
    let lines = left(&queue, &job.id).await;
    let order: Vec<usize> = (0..50).map(|number| lines.find(&format!("\"k{number:02}\"")).unwrap()).collect();
    assert!(order.is_sorted(), "{lines}");
    let delete = queue.enqueue(&NewJob::new("kv.delete", r#"{"prefix":"k"}"#)).await.unwrap();
    ended(&queue, &delete.id, "succeeded").await;
    assert_eq!(store.count().await.unwrap(), 0);
    let import = NewJob::new("kv.import", &format!(r#"{{"from":"{}"}}"#, job.id));
    let import = queue.enqueue(&import).await.unwrap();
    ended(&queue, &import.id, "succeeded").await;
    assert_eq!(store.count().await.unwrap(), 50);
    let sweep = queue.enqueue(&NewJob::new("ttl.sweep", "null")).await.unwrap();
    ended(&queue, &sweep.id, "succeeded").await;
}
