//! What a client sees when a Redis dies or hangs, and when the gateway ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use client::{Client, code, eventually, start, start_with};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::json;

#[test]
fn a_dead_redis_is_503_and_its_return_is_seen_at_once() {
    let mut redis = Server::durable();
    let gateway = start_with(&[route("acme", &redis.address())]);
    let client = Client::registered(&gateway, "acme");
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": 1})).status, 201);
    redis.kill();
    for answer in [client.get("/api/v1/kv/k"), client.put("/api/v1/kv/k", &json!({"value": 2}))] {
        assert_eq!(code(&answer), (503, "redis_unavailable".into()));
        assert_eq!(answer.header("retry-after"), "1");
    }
    // The gateway itself is well.
    assert_eq!(Client::anonymous(&gateway).get("/health/ready").status, 200);
    redis.revive();
    let first = client.get("/api/v1/kv/k");
    assert_eq!(
        (first.status, &first.json()["value"]),
        (200, &json!(1)),
        "the first request after the return"
    );
}

#[test]
fn a_redis_that_is_restarted_on_purpose_is_waited_for() {
    let mut redis = Server::durable();
    let mut acme = route("acme", &redis.address());
    let gateway = start_with(&[acme.clone()]);
    let client = Client::registered(&gateway, "acme");
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": 1})).status, 201);
    acme.redis.restarts = true;
    // What shows that the route is taken.
    (acme.limits.requests_per_second, acme.limits.burst) = (Some(10_000), None);
    gateway.set_route(&acme);
    let is_taken = || client.get("/api/v1/kv/k").header("ratelimit-policy").contains("q=10000");
    eventually(|| is_taken().then_some(()));

    redis.kill();
    thread::scope(|scope| {
        let read = scope.spawn(|| client.get("/api/v1/kv/k"));
        let written = scope.spawn(|| client.put("/api/v1/kv/other", &json!({"value": 2})));
        thread::sleep(Duration::from_millis(500));
        assert!(!read.is_finished() && !written.is_finished(), "they wait");
        redis.revive();
        let (read, written) = (read.join().unwrap(), written.join().unwrap());
        assert_eq!((read.status, &read.json()["value"]), (200, &json!(1)), "{read:?}");
        assert_eq!(written.status, 201, "{written:?}");
    });

    // It is over: one that dies now is dead.
    acme.redis.restarts = false;
    acme.limits.requests_per_second = Some(20_000);
    gateway.set_route(&acme);
    let is_over = || client.get("/api/v1/kv/k").header("ratelimit-policy").contains("q=20000");
    eventually(|| is_over().then_some(()));
    redis.kill();
    let begun = Instant::now();
    assert_eq!(code(&client.get("/api/v1/kv/k")), (503, "redis_unavailable".into()));
    assert!(begun.elapsed() < Duration::from_secs(8), "nobody is kept waiting: {:?}", begun.elapsed());
}

#[test]
fn a_hanging_redis_is_504_and_no_other_tenants_business() {
    let (redis, gateway) = start(&["acme", "other"]);
    let (acme, other) = (Client::registered(&gateway, "acme"), Client::registered(&gateway, "other"));
    assert_eq!(acme.put("/api/v1/kv/k", &json!({"value": 1})).status, 201);
    redis[0].pause();
    assert_eq!(code(&acme.get("/api/v1/kv/k")), (504, "deadline_exceeded".into()));
    assert_eq!(code(&acme.put("/api/v1/kv/k", &json!({"value": 2}))), (503, "outcome_unknown".into()));
    assert_eq!(other.put("/api/v1/kv/k", &json!({"value": 1})).status, 201);
    redis[0].resume();
    eventually(|| (acme.get("/api/v1/kv/k").status == 200).then_some(()));
}

#[test]
fn a_broken_route_keeps_the_last_good_one() {
    let (redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": 1})).status, 201);
    std::fs::write(gateway.route_file("acme"), "{\"format\": 1, \"tenant\":").unwrap();
    let mut weak = route("weak", &redis[0].address());
    weak.auth.keys[0].secret = "not a key".into();
    gateway.set_route(&weak);
    // A route that is good shows that the folder was read after the broken ones came.
    gateway.set_route(&route("beta", &redis[0].address()));
    eventually(|| {
        let body = json!({"tenant": "beta", "username": "x", "password": "x"});
        let answer = Client::anonymous(&gateway).post("/api/v1/auth/login", &body);
        (answer.status == 401).then_some(())
    });
    assert_eq!(client.get("/api/v1/kv/k").status, 200);
}

#[test]
fn sigterm_drains() {
    let redis = Server::start();
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let patient = ["--drain-delay", "10", "--shutdown-grace", "60"];
    let mut gateway = Gateway::start_with(binary, &[route("acme", &redis.address())], &patient);
    let client = Client::registered(&gateway, "acme");
    // A request that is under way: its head is sent, its body is not.
    let mut slow = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    let head = format!(
        "PUT /api/v1/kv/slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n",
        client.token()
    );
    slow.write_all(head.as_bytes()).unwrap();
    gateway.terminate();
    let nobody = Client::anonymous(&gateway);
    eventually(|| (nobody.get("/health/ready").status == 503).then_some(()));
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": 1})).status, 201, "served while balancers notice");
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", gateway.port())).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(90), "new connections are still accepted");
        thread::sleep(Duration::from_millis(20));
    }
    slow.write_all(b"{\"value\":1}").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(gateway.wait(), "it ends well");
}

#[test]
fn a_connection_of_no_use_is_closed_and_a_used_one_is_not() {
    let redis = Server::start();
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let gateway = Gateway::start_with(binary, &[route("acme", &redis.address())], &["--idle-timeout", "8"]);
    let client = Client::registered(&gateway, "acme");
    let started = Instant::now();
    let connect = |first: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        stream
    };
    let silent = connect("");
    let mut dribbling = connect("GET /health HTTP/1.1\r\nHost: x\r\n");
    let dribbled = dribbling.try_clone().unwrap();
    let used = connect("");
    // A body may take its time: a request is under way.
    let head = format!(
        "PUT /api/v1/kv/slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 11\r\nConnection: close\r\n\r\n",
        client.token()
    );
    let mut slow = connect(&head);
    let closed = |mut stream: TcpStream| {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut rest);
        started.elapsed()
    };
    thread::scope(|scope| {
        let silent = scope.spawn(|| closed(silent));
        let slow_head = scope.spawn(|| closed(dribbled));
        let mut used = used;
        while !(silent.is_finished() && slow_head.is_finished()) {
            let _ = dribbling.write_all(b"X-A: b\r\n");
            used.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            // A small answer comes as a whole.
            let mut answer = [0; 1024];
            let length = used.read(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?} after {:?}", started.elapsed());
            thread::sleep(Duration::from_millis(500));
        }
        for (what, ended) in
            [("a silent one", silent.join().unwrap()), ("a slow head", slow_head.join().unwrap())]
        {
            assert!(
                (Duration::from_millis(7900)..Duration::from_secs(40)).contains(&ended),
                "{what} was closed after {ended:?}"
            );
        }
    });
    slow.write_all(b"{\"value\":1}").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[test]
fn hanging_up_does_not_get_around_the_bound_on_password_checks() {
    let (_redis, gateway) = start(&["acme"]);
    let body = r#"{"tenant":"acme","username":"ada","password":"Correct-horse-7"}"#;
    let request = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..100 {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(4));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    // Two checks take 38 MiB, whatever the threads they ran on; each of the hundred would take 19.
    assert!(kibibytes < 120 * 1024, "the gateway took {kibibytes} KiB");
}

#[test]
fn metrics_have_bounded_labels() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    client.put("/api/v1/kv/a%20key", &json!({"value": 1}));
    client.get("/api/v1/kv/another");
    client.get("/no/such/path");
    client.raw("BREW", "/api/v1/kv/k", &[], b"x");
    let metrics = Client::anonymous(&gateway);
    let text = metrics.metrics(&gateway);
    for line in [
        "http_requests_total{endpoint=\"/api/v1/kv/{key}\",method=\"PUT\",status=\"201\"} 1",
        "http_requests_total{endpoint=\"/api/v1/kv/{key}\",method=\"GET\",status=\"404\"} 1",
        "http_requests_total{endpoint=\"none\",method=\"GET\",status=\"404\"} 1",
        "kvstore_operations_total{operation=\"put\",status=\"ok\",tenant=\"acme\"} 1",
        "keystead_gateway_tenants 1",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    // A tenant that goes takes its series along, and what else was counted stays.
    gateway.remove_route("acme");
    let text = eventually(|| {
        Some(metrics.metrics(&gateway)).filter(|text| text.contains("keystead_gateway_tenants 0"))
    });
    assert!(!text.contains("acme"), "{text}");
    assert!(text.contains("method=\"PUT\",status=\"201\"} 1"), "{text}");
    assert!(!text.contains("a key") && !text.contains("BREW"), "{text}");
    assert!(text.contains("http_request_duration_seconds_bucket") && text.contains("active_connections"));
}
