//! The note of a tenant's last use, on a real Redis with the rights of those who write and read it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

use std::time::Duration;

use keystead_kv::{ConnectOptions, Connection, acl, activity::Activity};
use keystead_route::Endpoint;
use keystead_tests::redis::Server;

const PASSWORD: &str = "word";

fn server() -> Server {
    Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
        &format!("user monitor on >{PASSWORD} {} {}", acl::MONITOR, acl::SLEEP),
    ])
}

fn activity(server: &Server, user: &str) -> Activity {
    let endpoint = Endpoint::Standalone { address: server.address() };
    let options = ConnectOptions::new(endpoint, Some(user.to_owned()), Some(PASSWORD.into()));
    Activity::new(Connection::open(options).unwrap())
}

fn used(server: &Server) -> u64 {
    server.cli(&["GET", "jobs:{j}:used"]).parse().unwrap()
}

#[tokio::test]
async fn the_latest_use_counts_whoever_tells_of_it_and_whenever() {
    let server = server();
    let (gateway, worker) = (activity(&server, "gateway"), activity(&server, "worker"));
    gateway.note(Duration::from_mins(30)).await.unwrap();
    let earlier = used(&server);
    worker.note(Duration::from_mins(10)).await.unwrap();
    let later = used(&server);
    let between = (later - earlier).abs_diff(20 * 60 * 1000);
    assert!(between < 60_000, "{earlier} {later}");
    gateway.note(Duration::from_mins(20)).await.unwrap();
    assert_eq!(used(&server), later);
}

#[tokio::test]
async fn who_lets_a_tenant_sleep_reads_numbers_and_nothing_else() {
    let server = server();
    activity(&server, "gateway").note(Duration::ZERO).await.unwrap();
    server.cli(&["HSET", "jobs:{j}:job:1", "payload", "secret"]);
    let asked = |question: &[&str]| {
        let output = std::process::Command::new("redis-cli")
            .args([
                "-p",
                &server.port().to_string(),
                "--user",
                "monitor",
                "--pass",
                PASSWORD,
                "--no-auth-warning",
            ])
            .args(question)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    assert_eq!(asked(&["GET", "jobs:{j}:used"]), used(&server).to_string());
    for question in [
        &["ZCARD", "jobs:{j}:ready"][..],
        &["HGET", "jobs:{j}:counts", "running"],
        &["ZRANGEBYSCORE", "jobs:{j}:scheduled", "-inf", "+inf", "LIMIT", "0", "1"],
        &["ZRANGEBYSCORE", "jobs:{j}:schedules", "-inf", "+inf", "LIMIT", "0", "1"],
        &["TIME"],
    ] {
        assert!(!asked(question).contains("NOPERM"), "{question:?}");
    }
    for question in [
        &["HGET", "jobs:{j}:job:1", "payload"][..],
        &["GET", "kv:{0}:e:a"],
        &["HGET", "auth:{a}:keys", "k"],
        &["SET", "jobs:{j}:used", "1"],
    ] {
        assert!(asked(question).contains("NOPERM"), "{question:?}: {}", asked(question));
    }
}
