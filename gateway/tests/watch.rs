//! The change feed on two real gateways and a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use client::{Client, code, eventually, owned, start_with, two_gateways};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};

fn one_tenant() -> (Server, [Gateway; 2], [Client; 2]) {
    let server = Server::start();
    let (gateways, clients) = two_gateways(&route("acme", &server.address()));
    (server, gateways, clients)
}

/// An open stream of events.
struct Watch {
    stream: BufReader<TcpStream>,
    /// The position that it was opened at.
    begin: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Watch {
    /// Opens a stream and waits until it has begun.
    fn open(gateway: &Gateway, credential: &str, path: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {credential}\r\n{last}\r\n")
            .unwrap();
        let mut watch = Self { stream: BufReader::new(stream), begin: String::new() };
        let head = watch.line().unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        loop {
            let line = watch.line().unwrap();
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut watch.begin);
            }
            if line == ": watching" {
                return watch;
            }
        }
    }

    /// None at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).expect("a line within 10 s");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; none at the end of the stream.
    fn next(&mut self) -> Option<Event> {
        let mut event = Event { name: String::new(), id: String::new(), data: Value::Null };
        loop {
            let line = self.line()?;
            if let Some((field, text)) = line.split_once(": ") {
                match field {
                    "event" => text.clone_into(&mut event.name),
                    "id" => text.clone_into(&mut event.id),
                    "data" => event.data = serde_json::from_str(text).unwrap(),
                    _ => {}
                }
            }
            if !event.name.is_empty() && !event.id.is_empty() && event.data != Value::Null {
                return Some(event);
            }
        }
    }

    fn expect(&mut self, name: &str, data: &Value) -> String {
        let event = self.next().expect("an event");
        assert_eq!((event.name.as_str(), &event.data), (name, data));
        event.id
    }
}

#[test]
fn every_change_is_told_in_order_by_every_gateway() {
    let (_redis, gateways, [one, other]) = one_tenant();
    let mut watches =
        gateways.each_ref().map(|gateway| Watch::open(gateway, one.token(), "/api/v1/watch", None));
    one.put("/api/v1/kv/a", &json!({"value": 1}));
    other.put("/api/v1/kv/a", &json!({"value": 2}));
    one.post("/api/v1/kv/n/incr", &json!({}));
    other.post(
        "/api/v1/kv/batch",
        &json!({"items": [{"key": "b", "value": 1}, {"op": "delete", "key": "a"}]}),
    );
    // A write that is refused changes nothing.
    one.post("/api/v1/kv", &json!({"key": "b", "value": 2}));
    one.put("/api/v1/kv/brief", &json!({"value": 1, "ttl": 1}));
    for watch in &mut watches {
        watch.expect("put", &json!({"key": "a", "version": 1}));
        watch.expect("put", &json!({"key": "a", "version": 2}));
        watch.expect("put", &json!({"key": "n", "version": 1}));
        watch.expect("put", &json!({"key": "b", "version": 1}));
        watch.expect("delete", &json!({"key": "a"}));
        watch.expect("put", &json!({"key": "brief", "version": 1}));
        watch.expect("expire", &json!({"key": "brief"}));
    }
}

#[test]
fn a_client_goes_on_where_it_was_also_through_another_gateway() {
    let (redis, gateways, [one, _]) = one_tenant();
    let mut watch = Watch::open(&gateways[0], one.token(), "/t/acme/api/v1/watch?prefix=k", None);
    one.put("/api/v1/kv/k1", &json!({"value": 1}));
    let seen = watch.expect("put", &json!({"key": "k1", "version": 1}));
    drop(watch);
    one.put("/api/v1/kv/other", &json!({"value": 1}));
    one.put("/api/v1/kv/k2", &json!({"value": 1}));
    let mut watch = Watch::open(&gateways[1], one.token(), "/api/v1/watch?prefix=k", Some(&seen));
    watch.expect("put", &json!({"key": "k2", "version": 1}));
    // Far more than is kept: what is lost is told.
    let items: Vec<Value> =
        (0..1000).map(|number| json!({"key": format!("x{number}"), "value": 1})).collect();
    for _ in 0..12 {
        // A busy machine's Redis may be too slow for so many: then they are sent again.
        eventually(|| (one.post("/api/v1/kv/batch", &json!({"items": items})).status == 200).then_some(()));
    }
    let length: u64 = redis.cli(&["XLEN", "kv:{0}:f"]).trim().parse().unwrap();
    assert!((10_000..11_000).contains(&length), "{length} events are kept");
    let mut late = Watch::open(&gateways[0], one.token(), "/api/v1/watch?prefix=k", Some(&seen));
    late.expect("reset", &json!({}));
    redis.cli(&["DEL", "kv:{0}:f"]);
    let mut late = Watch::open(&gateways[0], one.token(), "/api/v1/watch", Some(&seen));
    late.expect("reset", &json!({}));
}

#[test]
fn a_client_that_saw_no_event_goes_on_from_where_it_began() {
    let (_redis, gateways, [one, _]) = one_tenant();
    let watch = Watch::open(&gateways[0], one.token(), "/api/v1/watch", None);
    let begin = watch.begin.clone();
    drop(watch);
    one.put("/api/v1/kv/a", &json!({"value": 1}));
    one.put("/api/v1/kv/b", &json!({"value": 1}));
    // Also where it breaks off again before it has read what waits for it.
    for _ in 0..2 {
        let again = Watch::open(&gateways[1], one.token(), "/api/v1/watch", Some(&begin));
        assert_eq!(again.begin, begin);
    }
    let mut watch = Watch::open(&gateways[1], one.token(), "/api/v1/watch", Some(&begin));
    watch.expect("put", &json!({"key": "a", "version": 1}));
    watch.expect("put", &json!({"key": "b", "version": 1}));
}

#[test]
fn nothing_is_written_down_that_nobody_watches() {
    let (redis, _gateways, [one, _]) = one_tenant();
    one.put("/api/v1/kv/k", &json!({"value": 1}));
    assert_eq!(redis.cli(&["EXISTS", "kv:{0}:f"]).trim(), "0");
}

#[test]
fn a_watch_outlives_its_redis_and_ends_with_its_right() {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    let admin = owned(&mut route);
    let mut gateway = start_with(std::slice::from_ref(&route));
    let admin = Client::with_api_key(&gateway, &admin);
    let made = admin.post(
        "/api/v1/auth/api-keys",
        &json!({"name": "watcher", "scopes": ["kv:read"], "prefixes": ["team/"]}),
    );
    let (id, text) = (made.json()["id"].clone(), made.json()["api_key"].clone());
    let (id, text) = (id.as_str().unwrap(), text.as_str().unwrap());

    let forbidden = Client::with_api_key(&gateway, text).get("/api/v1/watch");
    assert_eq!(code(&forbidden), (403, "key_forbidden".into()));
    let mut watch = Watch::open(&gateway, text, "/api/v1/watch?prefix=team/", None);
    redis_connections_die(&server);
    eventually(|| (admin.put("/api/v1/kv/secret", &json!({"value": 1})).status == 201).then_some(()));
    admin.put("/api/v1/kv/team%2Fa", &json!({"value": 1}));
    watch.expect("put", &json!({"key": "team/a", "version": 1}));
    assert_eq!(admin.delete(&format!("/api/v1/auth/api-keys/{id}")).status, 204);
    assert_eq!(watch.next(), None, "the key is revoked");

    // And with the gateway, within its grace.
    let mut watch = Watch::open(&gateway, admin.credential(), "/api/v1/watch", None);
    gateway.terminate();
    assert_eq!(watch.next(), None);
    assert!(gateway.wait());
}

fn redis_connections_die(server: &Server) {
    server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
}

#[test]
fn a_watch_that_cannot_be_is_refused_with_what_to_do() {
    let (_redis, gateways, [one, _]) = one_tenant();
    let refused = one.raw("GET", "/api/v1/watch", &[("Last-Event-ID", "yesterday")], b"");
    assert_eq!(code(&refused), (422, "invalid".into()));
    assert_eq!(code(&one.get("/api/v1/watch?key=a")), (422, "invalid".into()));
    let watches: Vec<Watch> =
        (0..100).map(|_| Watch::open(&gateways[0], one.token(), "/api/v1/watch", None)).collect();
    assert_eq!(code(&one.get("/api/v1/watch")), (503, "too_busy".into()));
    assert_eq!(one.put("/api/v1/kv/k", &json!({"value": 1})).status, 201, "others are served");
    drop(watches);
    eventually(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", gateways[0].port())).unwrap();
        let token = one.token();
        write!(stream, "GET /api/v1/watch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
            .unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.starts_with("HTTP/1.1 200").then_some(())
    });
}

#[test]
fn a_watch_ends_when_the_key_by_which_it_began_is_another() {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    let key = owned(&mut route);
    let gateway = start_with(&[route.clone()]);
    let admin = Client::with_api_key(&gateway, &key);
    let mut watch = Watch::open(&gateway, admin.credential(), "/api/v1/watch", None);
    admin.put("/api/v1/kv/a", &json!({"value": 1}));
    watch.expect("put", &json!({"key": "a", "version": 1}));
    route.auth.admin_key_sha256 = Some("0".repeat(64));
    gateway.set_route(&route);
    assert_eq!(watch.next(), None);
}
