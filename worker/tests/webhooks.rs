//! Webhooks of a real worker, to a receiver in another language that verifies them by its own means.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod common;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use common::{Worker, ended, eventually, queue};
use keystead_kv::queue::{Job, NewJob, Queue};
use keystead_tests::{authority::Authority, redis::Server};
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0LXRoYXQtaXMtbG9uZy4=";
/// What was signed with before.
const FORMER: &str = "whsec_Zm9ybWVyLXNlY3JldC1vZi10aGUtdGVzdC13aGljaC4=";
/// What never was.
const STRANGE: &str = "whsec_c3RyYW5nZXItc2VjcmV0LW9mLXRoZS10ZXN0LTE=";

/// A receiver on loopback.
struct Receiver {
    child: Child,
    port: u16,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// That knows this secret; by TLS with the certificate of the folder.
    fn start(secret: &str, tls: Option<&Path>) -> Self {
        let mut command = Command::new("python3");
        command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/receiver/receiver.py"), secret]);
        if let Some(folder) = tls {
            command.args([folder.join("tls.crt"), folder.join("tls.key")]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("its port").unwrap().parse().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let received = requests.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                received.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, port, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }

    /// It, as a target that the Tenant names with its address.
    fn target(&self) -> Value {
        json!({"host": "localhost", "ports": [self.port], "allowHttp": true, "addresses": ["127.0.0.0/8"]})
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn secrets(secrets: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (number, secret) in secrets.iter().enumerate() {
        std::fs::write(folder.path().join(format!("secret-{number}")), secret).unwrap();
    }
    folder
}

fn worker(server: &Server, targets: &[Value], secrets: &TempDir, further: &[&str]) -> Worker {
    let targets = json!(targets).to_string();
    let folder = secrets.path().to_str().unwrap();
    let arguments = ["--webhooks", &targets, "--webhook-secrets", folder, "--webhook-timeout", "1"];
    Worker::start(server, None, &[&arguments, further].concat())
}

async fn enqueue(queue: &Queue, payload: Value) -> String {
    queue.enqueue(&NewJob::new("webhook", &payload.to_string())).await.unwrap().id
}

/// A webhook that has one attempt, and fails.
async fn fails(queue: &Queue, url: &str) -> Job {
    let payload = json!({"url": url, "body": {"order": 7}}).to_string();
    let job = NewJob { max_attempts: 1, ..NewJob::new("webhook", &payload) };
    let id = queue.enqueue(&job).await.unwrap().id;
    ended(queue, &id, "dead").await
}

#[tokio::test]
async fn a_webhook_is_signed_and_sent_again_until_it_is_taken() {
    let (server, receiver) = (Server::start(), Receiver::start(SECRET, None));
    // Who still has the secret of before, and who has neither.
    let (former, stranger) = (Receiver::start(FORMER, None), Receiver::start(STRANGE, None));
    let secrets = secrets(&[SECRET, FORMER]);
    let queue = queue(&server);
    let targets = [&receiver, &former, &stranger].map(Receiver::target);
    let _worker = worker(&server, &targets, &secrets, &[]);
    let payload = json!({
        "url": receiver.url("/once/500?a=b%20c"),
        "headers": {"Authorization": "Bearer of-the-receiver"},
        "body": {"order": 7, "price": 1.5},
    });
    let id = enqueue(&queue, payload).await;
    let job = ended(&queue, &id, "succeeded").await;
    assert_eq!(job.attempts, 2);
    let result: Value = serde_json::from_str(job.result.unwrap().get()).unwrap();
    assert_eq!(result, json!({"status": 200, "body": "thanks"}));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in &requests {
        assert_eq!((&request["genuine"], &request["method"]), (&json!(true), &json!("POST")), "{request}");
        assert_eq!(request["path"], json!("/once/500?a=b%20c"));
        assert_eq!(request["body"], json!(r#"{"order":7,"price":1.5}"#));
        let headers = &request["headers"];
        assert_eq!(headers["webhook-id"], json!(id), "the same at each attempt");
        assert_eq!(headers["content-type"], json!("application/json"));
        assert_eq!(headers["authorization"], json!("Bearer of-the-receiver"));
        assert_eq!(headers["host"], json!(format!("localhost:{}", receiver.port)));
    }

    for (receiver, genuine) in [(&former, true), (&stranger, false)] {
        let id = enqueue(&queue, json!({"url": receiver.url("/"), "method": "PUT"})).await;
        ended(&queue, &id, "succeeded").await;
        let request = &receiver.requests()[0];
        assert_eq!(request["genuine"], json!(genuine), "{request}");
        assert_eq!((&request["method"], &request["body"]), (&json!("PUT"), &json!("")));
        assert_eq!(request["headers"].get("content-type"), None, "of nothing");
    }
}

#[tokio::test]
async fn what_will_never_be_taken_ends_at_once_and_redirects_are_not_followed() {
    let (server, receiver) = (Server::start(), Receiver::start(SECRET, None));
    let secrets = secrets(&[SECRET]);
    let queue = queue(&server);
    let _worker = worker(&server, &[receiver.target()], &secrets, &[]);
    let origin = format!("http://localhost:{}", receiver.port);
    for (path, says) in [
        ("/status/404", format!("{origin} answers 404: no")),
        ("/status/410", format!("{origin} answers 410: no")),
        (
            "/status/302?Location=/taken",
            format!("{origin} answers 302: redirects are not followed, give the URL that it leads to"),
        ),
    ] {
        let id = enqueue(&queue, json!({"url": receiver.url(path)})).await;
        let job = ended(&queue, &id, "dead").await;
        assert_eq!((job.attempts, job.error), (1, Some(says)), "{path}");
    }
    let paths: Vec<Value> = receiver.requests().iter().map(|request| request["path"].clone()).collect();
    assert_eq!(paths, ["/status/404", "/status/410", "/status/302?Location=/taken"]);

    let id = enqueue(&queue, json!({"url": receiver.url("/large")})).await;
    let result = ended(&queue, &id, "succeeded").await.result.unwrap();
    assert_eq!(result.get(), json!({"status": 200, "body": "x".repeat(1024)}).to_string());
}

#[tokio::test]
async fn a_target_that_is_away_or_busy_is_asked_again_later() {
    let (server, receiver) = (Server::start(), Receiver::start(SECRET, None));
    let secrets = secrets(&[SECRET]);
    let queue = queue(&server);
    let mut target = receiver.target();
    // A port of this range that nobody listens on: Redis' own is taken.
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    target["ports"] = json!([receiver.port, closed]);
    let _worker = worker(&server, &[target], &secrets, &[]);
    let slow = fails(&queue, &receiver.url("/hang")).await.error.unwrap();
    assert_eq!(slow, format!("http://localhost:{} has not answered within 1 s", receiver.port));
    let away = fails(&queue, &format!("http://localhost:{closed}/")).await.error.unwrap();
    assert!(
        away.starts_with(&format!("http://localhost:{closed} does not answer (Connection refused")),
        "{away}"
    );
    let waits = |path: &'static str| {
        let (queue, url) = (queue.clone(), receiver.url(path));
        async move {
            let id = enqueue(&queue, json!({"url": url})).await;
            eventually("another attempt that waits", async || {
                let job = queue.get(&id).await.unwrap().unwrap();
                if job.status == "scheduled" { Ok(job) } else { Err(format!("{job:?}")) }
            })
            .await
        }
    };
    let busy = waits("/status/429?Retry-After=600").await;
    assert!(busy.run_at >= busy.started_at.unwrap() + 600_000, "{busy:?}");
    let forever = waits("/status/503?Retry-After=99999999").await;
    assert!(forever.run_at <= forever.started_at.unwrap() + 2 * 3_600_000, "an hour at most: {forever:?}");
}

#[tokio::test]
async fn over_tls_only_who_is_trusted_and_named_is_told() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("ours"));
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    authority.issue(folder.path(), &["localhost"], &[&authority]);
    stranger.issue(other.path(), &["localhost"], &[&stranger]);
    let (server, receiver) = (Server::start(), Receiver::start(SECRET, Some(folder.path())));
    let impostor = Receiver::start(SECRET, Some(other.path()));
    let secrets = secrets(&[SECRET]);
    let queue = queue(&server);
    let ports = [receiver.port, impostor.port];
    let targets = [json!({"host": "*", "ports": ports, "addresses": ["127.0.0.1/32"]})];
    let ca = folder.path().join("ca.crt");
    let _worker = worker(&server, &targets, &secrets, &["--webhook-ca-file", ca.to_str().unwrap()]);
    let url = |host: &str, port: u16| format!("https://{host}:{port}/");
    let id = enqueue(&queue, json!({"url": url("localhost", receiver.port), "body": "text"})).await;
    ended(&queue, &id, "succeeded").await;
    assert_eq!(receiver.requests()[0]["genuine"], json!(true));
    for (wrong, says) in [
        (url("localhost", impostor.port), "invalid peer certificate"),
        (url("127.0.0.1", receiver.port), "not valid for name"),
        (format!("http://localhost:{}/", receiver.port), "is no target of this tenant"),
    ] {
        let error = fails(&queue, &wrong).await.error.unwrap();
        assert!(error.contains(says), "{wrong}: {error}");
    }
    assert_eq!((receiver.requests().len(), impostor.requests().len()), (1, 0));
}

#[tokio::test]
async fn nobody_is_reached_whom_the_tenant_has_not_named_with_a_private_address() {
    let (server, receiver) = (Server::start(), Receiver::start(SECRET, None));
    let secrets = secrets(&[SECRET]);
    let queue = queue(&server);
    let anybody = json!({"host": "*", "ports": [receiver.port], "allowHttp": true});
    let elsewhere = json!({"host": "localhost", "ports": [receiver.port], "allowHttp": true, "addresses": ["10.0.0.0/8"]});
    let anybody = worker(&server, &[anybody, elsewhere], &secrets, &[]);
    // The host as a name, as an address, and in the ways in which a resolver takes one too.
    for host in [
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ] {
        let origin = format!("http://{host}:{}", receiver.port);
        let job = fails(&queue, &origin).await;
        let error = job.error.unwrap();
        assert!(error.contains("leads to no address that is allowed"), "{host}: {error}");
    }
    let error = fails(&queue, "https://localhost/").await.error.unwrap();
    assert_eq!(
        error,
        "https://localhost is no target of this tenant: name its host, port and scheme in the Tenant's spec.worker.webhooks"
    );
    drop(anybody);
    let _worker = Worker::start(&server, None, &[]);
    let error = fails(&queue, &receiver.url("/")).await.error.unwrap();
    assert_eq!(
        error,
        "this tenant sends no webhooks: the Tenant's spec.worker.webhooks names the hosts that it may send to"
    );
    assert_eq!(receiver.requests(), Vec::<Value>::new());
}
