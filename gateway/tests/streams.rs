//! All entries in one answer, a line each, as fast as the client reads.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use client::{Answer, Client, calls, code, eventually, owned, start, start_with};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};

const LINES: (&str, &str) = ("Accept", "application/x-ndjson");

fn fill(client: &Client, keys: usize, value: &Value) {
    for first in (0..keys).step_by(100) {
        let items: Vec<Value> = (first..keys.min(first + 100))
            .map(|key| {
                let tag = if key % 3 == 0 { "red" } else { "blue" };
                json!({"key": format!("k/{key:06}"), "value": value, "tags": {"colour": tag}})
            })
            .collect();
        // A busy machine may need longer than the gateway waits.
        let batch = json!({"items": items});
        eventually(|| (client.post("/api/v1/kv/batch", &batch).status == 200).then_some(()));
    }
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_entry_is_a_line_and_filters_hold() {
    let (_redis, gateway) = start(&["acme"]);
    let ada = Client::registered(&gateway, "acme");
    fill(&ada, 3500, &json!("v"));
    let all = ada.raw("GET", "/api/v1/kv", &[LINES], b"");
    assert_eq!((all.status, all.header("content-type").as_str()), (200, "application/x-ndjson"));
    let keys: Vec<String> = lines(&all).iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..3500).map(|key| format!("k/{key:06}")).collect();
    assert_eq!(keys, expected);

    let path = "/api/v1/kv?prefix=k/00&tag_filter=colour:red&values=true";
    let red = lines(&ada.raw("GET", path, &[LINES], b""));
    assert_eq!(red.len(), 3500_usize.div_ceil(3));
    assert!(red.iter().all(|line| line["value"] == "v" && line["metadata"]["tags"]["colour"] == "red"));
    assert!(lines(&ada.raw("GET", "/api/v1/kv?prefix=none", &[LINES], b"")).is_empty());
    let cursor = ada.get("/api/v1/kv?limit=1000").json()["next_cursor"].as_str().unwrap().to_owned();
    let rest = lines(&ada.raw("GET", &format!("/api/v1/kv?cursor={cursor}"), &[LINES], b""));
    assert_eq!((rest.len(), &rest[0]["key"]), (2500, &json!("k/001000")));

    // A value that was written in several lines is in one.
    let pretty = b"{\"value\": {\r\n  \"n\": 1\n}}";
    ada.raw("PUT", "/api/v1/kv/pretty", &[("Content-Type", "application/json")], pretty);
    let one = lines(&ada.raw("GET", "/api/v1/kv?prefix=pretty&values=true", &[LINES], b""));
    assert_eq!((one.len(), &one[0]["value"]), (1, &json!({"n": 1})));

    for (accept, content_type) in [
        ("application/x-ndjson, */*", "application/x-ndjson"),
        ("application/x-ndjson;q=1", "application/x-ndjson"),
        ("application/json, application/x-ndjson;q=0", "application/json"),
    ] {
        let answer = ada.raw("GET", "/api/v1/kv?prefix=pretty", &[("Accept", accept)], b"");
        assert_eq!(answer.header("content-type"), content_type, "{accept}");
    }

    for query in ["page=1", "limit=5"] {
        let refused = ada.raw("GET", &format!("/api/v1/kv?{query}"), &[LINES], b"");
        assert_eq!(code(&refused), (422, "invalid".into()), "{query}");
    }
}

#[test]
fn a_client_that_does_not_read_has_nothing_read_for_it_and_a_broken_answer_has_no_end() {
    let (mut servers, gateway) = start(&["acme"]);
    let ada = Client::registered(&gateway, "acme");
    fill(&ada, 2000, &json!("x".repeat(20_000)));
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let token = ada.token();
    write!(
        stream,
        "GET /api/v1/kv?values=true HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // 40 MB are there; what fits into buffers is fetched, and no more for as long as nobody reads.
    let fetched = || servers[0].cli(&["INFO", "commandstats"]);
    let mut before = fetched();
    eventually(|| {
        std::thread::sleep(Duration::from_millis(300));
        let now = std::mem::replace(&mut before, fetched());
        let count =
            |text: &str| text.lines().find(|line| line.starts_with("cmdstat_evalsha:")).map(str::to_owned);
        (count(&now) == count(&before)).then_some(())
    });
    // All of them would take a hundred and fifty.
    let asked = calls(&servers[0], "zrange");
    assert!((1..80).contains(&asked), "{asked} parts were fetched for nobody");
    servers[0].kill();
    let mut rest = Vec::new();
    // Broken off or closed: the end of a whole answer did not come.
    let _ = reader.read_to_end(&mut rest);
    assert!(!rest.is_empty());
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the end of a whole answer");
}

#[test]
fn a_stream_ends_with_its_credential() {
    let redis = Server::start();
    let mut route = route("acme", &redis.address());
    let owner = owned(&mut route);
    let gateway = start_with(&[route]);
    let owner = Client::with_api_key(&gateway, &owner);
    fill(&owner, 1500, &json!("x".repeat(20_000)));
    let made = owner.post("/api/v1/auth/api-keys", &json!({"name": "reader", "scopes": ["kv:read"]})).json();
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let key = made["api_key"].as_str().unwrap();
    let head =
        "GET /api/v1/kv?values=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: application/x-ndjson";
    write!(stream, "{head}\r\nX-API-Key: {key}\r\n\r\n").unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    let id = made["id"].as_str().unwrap();
    assert_eq!(owner.delete(&format!("/api/v1/auth/api-keys/{id}")).status, 204);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 25_000_000, "all {} bytes came", rest.len());
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[test]
fn who_does_not_read_large_answers_gets_no_more_of_them() {
    let (_redis, gateway) = start(&["acme", "other"]);
    let (ada, eve) = (Client::registered(&gateway, "acme"), Client::registered(&gateway, "other"));
    let megabytes = json!({"value": "x".repeat(2_000_000)});
    assert_eq!(ada.put("/api/v1/kv/large", &megabytes).status, 201);
    let token = ada.token();
    // Each takes what the sockets hold, and the rest waits in the gateway.
    let mut waiting: Vec<TcpStream> = Vec::new();
    eventually(|| {
        for _ in 0..10 {
            let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
            let items = vec![r#"{"op":"get","key":"large"}"#; 16].join(",");
            let body = format!("{{\"items\":[{items}]}}");
            let length = body.len();
            let head = "POST /api/v1/kv/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json";
            write!(
                stream,
                "{head}\r\nContent-Length: {length}\r\nAuthorization: Bearer {token}\r\n\r\n{body}"
            )
            .unwrap();
            waiting.push(stream);
        }
        // On a busy machine Redis may be slower than a request waits: that is another refusal.
        let answer = ada.get("/api/v1/kv/large");
        (answer.status == 503).then(|| code(&answer).1).filter(|code| code == "too_busy")
    });
    assert_eq!(eve.put("/api/v1/kv/a", &json!({"value": 1})).status, 201, "another tenant goes on");
    drop(waiting);
    eventually(|| (ada.get("/api/v1/kv/large").status == 200).then_some(()));
}

#[test]
fn who_sends_large_bodies_slowly_cannot_send_more_of_them() {
    let (_redis, gateway) = start(&["acme", "other"]);
    let (ada, eve) = (Client::registered(&gateway, "acme"), Client::registered(&gateway, "other"));
    let token = ada.token();
    let large = json!({"value": "x".repeat(1_000_000)});
    let almost = vec![b'x'; 1_000_000];
    // Each has sent all but the end of its body.
    let mut waiting: Vec<TcpStream> = Vec::new();
    eventually(|| {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
            let head = "PUT /api/v1/kv/slow HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1000001";
            write!(stream, "{head}\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
            // The gateway may have refused it by now.
            let _ = stream.write_all(&almost);
            waiting.push(stream);
        }
        let answer = ada.put("/api/v1/kv/large", &large);
        (answer.status == 503).then(|| code(&answer).1).filter(|code| code == "too_busy")
    });
    assert!(waiting.len() < 200, "{} bodies of a megabyte were taken in", waiting.len());
    assert_eq!(ada.put("/api/v1/kv/a", &json!({"value": 1})).status, 201, "what is small goes on");
    assert_eq!(eve.put("/api/v1/kv/large", &large).status, 201, "and another tenant");
    drop(waiting);
    eventually(|| (ada.put("/api/v1/kv/large", &large).status < 300).then_some(()));
}

#[test]
fn connections_to_a_redis_that_nobody_asks_are_closed_and_opened_again() {
    let redis = Server::start();
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let routes = [route("acme", &redis.address())];
    let gateway = Gateway::start_with(binary, &routes, &["--redis-idle-timeout", "1"]);
    let ada = Client::registered(&gateway, "acme");
    assert_eq!(ada.put("/api/v1/kv/a", &json!({"value": 1})).status, 201);
    // That of redis-cli itself is the one that is left.
    let clients = || redis.cli(&["CLIENT", "LIST"]).lines().count();
    eventually(|| (clients() == 1).then_some(()));
    assert_eq!(ada.get("/api/v1/kv/a").json()["value"], json!(1));
    assert_eq!(clients(), 2);
}
