//! Many connections, and heads and bodies that are too large.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use client::{Client, start};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;

const CONNECTIONS: usize = 10_000;
const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// Reads until the head of an answer is there.
fn status(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).expect("an answer within 10 s");
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap().to_owned()
}

#[test]
fn ten_thousand_idle_connections_are_kept_and_hold_up_nobody() {
    // Their other ends are in this process.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let mut idle = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.write_all(REQUEST).unwrap();
        assert_eq!(status(&mut stream), "HTTP/1.1 200 OK");
        idle.push(stream);
    }
    let open = client.metrics(&gateway);
    let open = open.lines().find_map(|line| line.strip_prefix("active_connections ")).unwrap();
    assert!(open.parse::<usize>().unwrap() >= CONNECTIONS, "{open} are open");
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": 1})).status, 201);
    for stream in idle.iter_mut().step_by(1000) {
        stream.write_all(REQUEST).unwrap();
        assert_eq!(status(stream), "HTTP/1.1 200 OK");
    }
    let text = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let resident = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes < 512 * 1024, "the gateway takes {kibibytes} KiB");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    let head = format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    // It may be refused before it is sent to its end.
    let _ = stream.write_all(head.as_bytes());
    assert!(status(&mut stream).starts_with("HTTP/1.1 431"));

    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    let token = client.token();
    write!(
        stream,
        "PUT /api/v1/kv/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: text/plain\r\n\
         Content-Length: 99999999999\r\n\r\n"
    )
    .unwrap();
    assert!(status(&mut stream).starts_with("HTTP/1.1 413"), "nothing of the body was sent");
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": 1})).status, 201);
}
