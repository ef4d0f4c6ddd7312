//! A real worker process, and its queue and store on a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod counted;

use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use keystead_kv::{
    Condition, ConnectOptions, Connection, Outcome, Put, Store, Ttl,
    queue::{Job, Queue},
};
use keystead_route::Endpoint;
use keystead_tests::redis::Server;

pub const PASSWORD: &str = "word-of-the-worker";

#[derive(Debug)]
pub struct Worker {
    pub child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Worker {
    pub fn start(server: &Server, user: Option<&str>, extra: &[&str]) -> Self {
        Self::start_at(&["--redis-address", &server.address()], user, extra)
    }

    /// Starts it on whatever these arguments name.
    pub fn start_at(redis: &[&str], user: Option<&str>, extra: &[&str]) -> Self {
        let port = keystead_tests::free_port();
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystead-worker"));
        command
            .args(["--tenant", "acme", "--log-format", "text", "--log", "warn"])
            .args(redis)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(extra);
        if let Some(user) = user {
            command.args(["--redis-username", user, "--redis-password-file"]).arg(&password);
        }
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Self { child, port, _folder: folder }
    }

    pub fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    pub fn page(&self, path: &str) -> Option<(u16, String)> {
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

pub fn connect(server: &Server, user: Option<&str>) -> Connection {
    let endpoint = Endpoint::Standalone { address: server.address() };
    let password = user.map(|_| PASSWORD.into());
    let mut options = ConnectOptions::new(endpoint, user.map(str::to_owned), password);
    // The machine may be busy with other tests.
    options.response_timeout = Duration::from_secs(5);
    Connection::open(options).unwrap()
}

pub fn queue(server: &Server) -> Queue {
    Queue::new(connect(server, None))
}

pub async fn write(store: &Store, key: &str, value: &[u8], content_type: &str, ttl: Ttl) {
    let put =
        Put { value: value.to_vec().into(), content_type: content_type.into(), tags: BTreeMap::new(), ttl };
    assert!(matches!(store.put(key, &put, &Condition::Any).await.unwrap(), Outcome::Done(_)));
}

/// Asks until the probe gives something; panics after 90 s with what it saw last.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(last) => {
                assert!(started.elapsed() < Duration::from_secs(90), "{what} does not come; last: {last}");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn ended(queue: &Queue, id: &str, status: &str) -> Job {
    eventually("the end of the job", async || {
        let job = queue.get(id).await.unwrap().unwrap();
        if job.status == status { Ok(job) } else { Err(format!("{job:?}")) }
    })
    .await
}

/// All that a job has left.
pub async fn left(queue: &Queue, id: &str) -> String {
    let mut bytes = Vec::new();
    let parts = queue.parts(id).await.unwrap().expect("it has left something");
    for number in 0..parts.count {
        bytes.extend(queue.part(id, number).await.unwrap().expect("each part is kept"));
    }
    assert_eq!(bytes.len() as u64, parts.bytes);
    String::from_utf8(bytes).unwrap()
}
