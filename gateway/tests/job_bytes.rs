//! What jobs read and leave, through the gateway; the test itself is the worker.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use client::{Client, code, eventually, start, start_with};
use keystead_kv::{
    ConnectOptions, Connection,
    queue::{Claims, Ending, Left, Queue, Report},
};
use keystead_route::Endpoint;
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::json;

fn queue(server: &Server) -> Queue {
    let endpoint = Endpoint::Standalone { address: server.address() };
    Queue::new(Connection::open(ConnectOptions::new(endpoint, None, None)).unwrap())
}

/// Sends the head of an input; the connection takes what follows.
fn begin_input(gateway: &Gateway, client: &Client, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.base().strip_prefix("http://").unwrap()).unwrap();
    let head = format!(
        "POST /api/v1/jobs/inputs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n",
        client.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_comes_in_parts_and_breaks_off_where_one_is_gone() {
    let (redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let made = client.post("/api/v1/jobs", &json!({"kind": "kv.export"})).json();
    let id = made["id"].as_str().unwrap();
    let (path, result) = (format!("/api/v1/jobs/{id}"), format!("/api/v1/jobs/{id}/result"));
    let claims = Claims::new(&queue(&redis[0]), "w".into(), Duration::from_mins(1));
    let claim = claims.fetch(1).await.unwrap().0.pop().unwrap();
    let mut all = Vec::new();
    for (number, percent) in [(0, 30), (1, 60), (2, 90)] {
        let part = format!("part {number}\n").repeat(30_000).into_bytes();
        let report = Report { percent: Some(percent), message: "on its way", checkpoint: None };
        assert_eq!(claims.leave(&claim, number, &part, &report, 1 << 20).await.unwrap(), Left::Kept);
        all.extend(part);
    }
    let job = client.get(&path).json();
    assert_eq!(job["progress"], json!({"percent": 90, "message": "on its way"}));
    assert_eq!(code(&client.get(&result)), (404, "job_not_found".into()), "it is not whole");
    let ending = Ending::Succeeded { result: r#"{"content_type":"application/x-ndjson"}"#.into() };
    assert!(claims.end(&claim, &ending).await.unwrap());
    let answer = client.get(&result);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson".into()));
    assert_eq!(answer.header("content-length"), all.len().to_string());
    assert!(answer.body == all, "{} bytes", answer.body.len());
    assert_eq!(client.get(&path).json()["progress"]["percent"], json!(100));

    redis[0].cli(&["DEL", &format!("jobs:{{j}}:part:{id}:1")]);
    let mut stream = TcpStream::connect(gateway.base().strip_prefix("http://").unwrap()).unwrap();
    let head =
        format!("GET {result} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", client.token());
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // The connection ends before what was announced has come.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.len() < all.len(), "{} bytes", answer.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_is_kept_in_parts_once_it_is_whole() {
    let (redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let lines = "{\"key\":\"a\",\"value\":1}\n".repeat(40_000);
    let headers = [("Content-Type", "application/x-ndjson")];
    let answer = client.raw("POST", "/api/v1/jobs/inputs", &headers, lines.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["bytes"], json!(lines.len()));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let queue = queue(&redis[0]);
    let parts = queue.parts(&id).await.unwrap().unwrap();
    assert_eq!((parts.count, parts.bytes), (4, lines.len() as u64));
    let mut kept = Vec::new();
    for number in 0..parts.count {
        kept.extend(queue.part(&id, number).await.unwrap().unwrap());
    }
    assert!(kept == lines.as_bytes());
    let left: i64 = redis[0].cli(&["TTL", &format!("jobs:{{j}}:part:{id}:0")]).parse().unwrap();
    assert!((86_000..=86_400).contains(&left), "{left}");
    let import = json!({"kind": "kv.import", "payload": {"from": id}});
    assert_eq!(client.post("/api/v1/jobs", &import).status, 202);
    for from in ["nothing", "{j}:x", ""] {
        let import = client.post("/api/v1/jobs", &json!({"kind": "kv.import", "payload": {"from": from}}));
        assert_eq!(code(&import), (422, "invalid".into()), "{from}");
    }

    let other = client.post("/api/v1/jobs/inputs", &json!({"key": "a"}));
    assert_eq!(code(&other), (415, "wrong_content_type".into()));
    let before = redis[0].cli(&["DBSIZE"]);
    let mut stream = begin_input(&gateway, &client, lines.len());
    stream.write_all(&lines.as_bytes()[..600_000]).unwrap();
    eventually(|| (redis[0].cli(&["DBSIZE"]) != before).then_some(()));
    // Who goes in the middle leaves nothing.
    drop(stream);
    eventually(|| (redis[0].cli(&["DBSIZE"]) == before).then_some(()));
}

#[test]
fn a_redis_that_becomes_full_keeps_no_half_of_an_input() {
    let (redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let before = redis[0].cli(&["DBSIZE"]);
    let lines = "{\"key\":\"a\",\"value\":1}\n".repeat(40_000);
    let (first, rest) = lines.as_bytes().split_at(600_000);
    let mut stream = begin_input(&gateway, &client, lines.len());
    stream.write_all(first).unwrap();
    eventually(|| (redis[0].cli(&["DBSIZE"]) != before).then_some(()));
    redis[0].cli(&["CONFIG", "SET", "maxmemory", "1"]);
    stream.write_all(rest).unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 507") && answer.contains("storage_full"), "{answer}");
    assert_eq!(redis[0].cli(&["DBSIZE"]), before);
}

#[test]
fn a_worker_of_the_tenants_own_has_jobs_of_any_kind() {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    route.own_worker = true;
    let gateway = start_with(&[route]);
    let client = Client::registered(&gateway, "acme");
    let job = json!({"kind": "mail.send", "payload": {"to": ["a"]}});
    assert_eq!(client.post("/api/v1/jobs", &job).status, 202);
    let schedule = json!({"cron": "0 3 * * *", "kind": "mail.send"});
    assert_eq!(client.put("/api/v1/jobs/schedules/mail", &schedule).status, 201);
    let unnamed = client.post("/api/v1/jobs", &json!({"kind": ""}));
    assert_eq!(code(&unnamed), (422, "invalid".into()));
    assert_eq!(unnamed.json()["detail"], json!("kind: 1 to 64 bytes without control characters"));
}
