//! `examples/worker-python` against a real Redis with its users, and a real gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use client::{Client, start_with};
use keystead_kv::acl;
use keystead_tests::{gateway::route, redis::Server};
use serde_json::{Value, json};

const PASSWORD: &str = "word-of-the-users";

struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/worker-python")
}

/// A Python with what the example needs, in a folder of its own.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("worker-python");
    let python = folder.join("bin/python");
    if !python.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status().unwrap();
        assert!(made.success(), "python3 -m venv failed: is python3-venv installed?");
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    assert!(install.arg(example().join("requirements.txt")).status().unwrap().success());
    python
}

fn worker(python: &Path, server: &Server, password: &Path) -> Worker {
    let mut command = Command::new(python);
    command.arg(example().join("worker.py")).stdin(Stdio::null());
    command.env("KEYSTEAD_REDIS_ADDRESS", server.address()).env("KEYSTEAD_REDIS_USERNAME", "worker");
    Worker(command.env("KEYSTEAD_REDIS_PASSWORD_FILE", password).spawn().unwrap())
}

/// The job when this holds of it.
fn when(client: &Client, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let job = client.get(&format!("/api/v1/jobs/{id}")).json();
        if holds(&job) {
            return job;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "it does not come; last: {job}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_worker_in_another_language_does_the_tenants_jobs() {
    let server = Server::with_users(&[
        &format!("user gateway on >{PASSWORD} {}", acl::GATEWAY),
        &format!("user worker on >{PASSWORD} {}", acl::WORKER),
    ]);
    let mut route = route("acme", &server.address());
    route.redis.username = Some("gateway".into());
    route.redis.password = Some(PASSWORD.into());
    route.own_worker = true;
    let gateway = start_with(&[route]);
    let client = Client::registered(&gateway, "acme");
    let queue = |job: Value| client.post("/api/v1/jobs", &job).json()["id"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let python = python();

    let long = queue(json!({"kind": "greet", "payload": {"name": "Ada", "seconds": 3}, "priority": 9}));
    let first = worker(&python, &server, &password);
    let running = when(&client, &long, |job| !job["progress"].is_null());
    assert_eq!((&running["status"], &running["attempts"]), (&json!("running"), &json!(1)));
    // It dies in the middle, and its lease runs out.
    drop(first);
    let dead = server.cli(&["ZRANGE", "jobs:{j}:workers", "0", "-1"]);
    server.cli(&["ZADD", "jobs:{j}:workers", "1", &dead]);
    let mut second = worker(&python, &server, &password);
    let done = when(&client, &long, |job| job["status"] == "succeeded");
    assert_eq!((&done["result"], &done["attempts"]), (&json!({"greeting": "Hello, Ada!"}), &json!(2)));
    assert_eq!(done["progress"]["percent"], json!(100));

    let nobody = queue(json!({"kind": "greet", "payload": {}, "max_attempts": 2}));
    let failed = when(&client, &nobody, |job| job["status"] == "scheduled");
    assert_eq!((&failed["error"], &failed["attempts"]), (&json!("KeyError: 'name'"), &json!(1)));
    let dead = when(&client, &nobody, |job| job["status"] == "dead");
    assert_eq!(dead["attempts"], json!(2));
    let unknown = queue(json!({"kind": "greeet"}));
    assert_eq!(when(&client, &unknown, |job| job["status"] == "dead")["attempts"], json!(1));

    let asked = Command::new("kill").arg(second.0.id().to_string()).status().unwrap();
    assert!(asked.success() && second.0.wait().unwrap().success(), "it ends when it is asked to");
}
