//! What the operator hears of a tenant's idleness, from a real Redis with the rights of the user that it asks as.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use keystead_kv::{
    ConnectOptions, Connection, acl,
    activity::Activity,
    queue::{NewJob, NewSchedule, Queue, When},
};
use keystead_operator::tenant::{
    members::Login,
    sleep::ask::{Idle, ask},
};
use keystead_route::Endpoint;
use tempfile::TempDir;

/// A Redis at an address of its own: the operator knows one port.
struct Server {
    ip: String,
    process: Child,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // Beside other tests that have Redis of their own on the loopback.
        let number = std::process::id();
        let ip = format!("127.{}.{}.9", 201 + number % 50, number / 50 % 250);
        let users = [
            "user default off".to_owned(),
            format!("user gateway on >word {}", acl::GATEWAY),
            format!("user monitor on >word {} {}", acl::MONITOR, acl::SLEEP),
            format!("user of-one-that-never-sleeps on >word {}", acl::MONITOR),
        ];
        fs::write(folder.path().join("users.acl"), users.join("\n") + "\n").unwrap();
        let process = Command::new("redis-server")
            .args(["--bind", &ip, "--port", "6379", "--save", "", "--aclfile", "users.acl"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self { ip, process, _folder: folder }
    }

    fn connection(&self) -> Connection {
        let endpoint = Endpoint::Standalone { address: format!("{}:6379", self.ip) };
        Connection::open(ConnectOptions::new(endpoint, Some("gateway".into()), Some("word".into()))).unwrap()
    }

    async fn ask_as(&self, user: &str) -> Option<Idle> {
        // Nobody is at the first address, as where another shard has the queue.
        ask(&["127.0.0.254", &self.ip], &Login { user, password: &"word".into(), ca: None }).await
    }

    async fn idle(&self) -> Idle {
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(idle) = self.ask_as("monitor").await {
                return idle;
            }
            assert!(Instant::now() < until, "it does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Seconds from the answer to another time in it.
fn from_now(idle: &Idle, time: Option<jiff::Timestamp>) -> i64 {
    time.expect("a time").as_second() - idle.at.as_second()
}

#[tokio::test]
async fn redis_tells_of_the_last_use_and_of_what_its_queue_has_to_do() {
    let server = Server::start();
    let never = server.idle().await;
    assert_eq!((never.used, never.is_busy, never.due), (None, false, None));
    assert_eq!(server.ask_as("of-one-that-never-sleeps").await, None);

    let connection = server.connection();
    Activity::new(connection.clone()).note(Duration::from_mins(10)).await.unwrap();
    let used = server.idle().await;
    assert!((-660..=-600).contains(&from_now(&used, used.used)), "{used:?}");

    let queue = Queue::new(connection);
    let schedule =
        NewSchedule { cron: "0 0 1 1 *".parse().unwrap(), kind: "kv.export".into(), payload: "null".into() };
    queue.put_schedule(&"yearly".parse().unwrap(), &schedule).await.unwrap();
    let scheduled = server.idle().await;
    assert!(from_now(&scheduled, scheduled.due) > 0, "{scheduled:?}");

    let later = |minutes| NewJob {
        when: When::After(Duration::from_mins(minutes)),
        ..NewJob::new("kv.export", "null")
    };
    for minutes in [5, 2] {
        queue.enqueue(&later(minutes)).await.unwrap();
    }
    let put_off = server.idle().await;
    assert!((60..=120).contains(&from_now(&put_off, put_off.due)), "{put_off:?}");
    assert!(!put_off.is_busy);

    queue.enqueue(&NewJob::new("kv.export", "null")).await.unwrap();
    assert!(server.idle().await.is_busy);
}
