//! The cache of hot reads on two real gateways and a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use client::{Client, calls, code, eventually, start_with, two_gateways};
use keystead_route::{Cache, Route};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};

fn cached() -> (Server, [Gateway; 2], [Client; 2]) {
    let server = Server::start();
    let (gateways, clients) = two_gateways(&with_cache(&server.address()));
    (server, gateways, clients)
}

fn with_cache(address: &str) -> Route {
    let mut route = route("acme", address);
    route.cache = Some(Cache { max_bytes: 1 << 20 });
    route
}

fn value(client: &Client, path: &str) -> Value {
    client.get(path).json()["value"].clone()
}

/// How often Redis was asked for an entry.
fn gets(redis: &Server) -> u64 {
    calls(redis, "get")
}

#[test]
fn a_read_that_asks_for_the_primary_is_not_answered_from_memory() {
    let (redis, _gateways, [ada, _]) = cached();
    assert_eq!(ada.put("/api/v1/kv/a", &json!({"value": 1})).status, 201);
    for _ in 0..3 {
        assert_eq!(value(&ada, "/api/v1/kv/a"), json!(1));
    }
    let before = calls(&redis, "get");
    assert_eq!(value(&ada, "/api/v1/kv/a?consistency=replica"), json!(1));
    assert_eq!(calls(&redis, "get"), before, "kept");
    assert_eq!(value(&ada, "/api/v1/kv/a?consistency=primary"), json!(1));
    assert_eq!(calls(&redis, "get"), before + 1);
    for query in ["consistency=any", "ttl=1"] {
        let refused = ada.get(&format!("/api/v1/kv/a?{query}"));
        assert_eq!(code(&refused), (422, "invalid".into()), "{query}");
    }
}

#[test]
fn a_hot_read_asks_no_redis_and_a_write_is_seen() {
    let (redis, gateways, [one, other]) = cached();
    let path = "/api/v1/kv/hot";
    one.put(path, &json!({"value": 1}));
    assert_eq!((value(&one, path), value(&other, path)), (json!(1), json!(1)));
    let before = gets(&redis);
    for _ in 0..20 {
        assert_eq!((value(&one, path), value(&other, path)), (json!(1), json!(1)));
    }
    assert_eq!(gets(&redis), before, "both gateways keep it");
    let metrics = one.metrics(&gateways[0]);
    assert!(metrics.contains("kv_cache_operations_total{result=\"hit\",tenant=\"acme\"} 20"), "{metrics}");

    // Each way to change an entry is seen at once where it was done, and soon by the other gateway.
    let changes: [(&dyn Fn(), Value); 4] = [
        (&|| drop(one.put(path, &json!({"value": 2}))), json!(2)),
        (&|| drop(one.post("/api/v1/kv/hot/incr", &json!({"by": 5}))), json!(7)),
        (&|| drop(one.post("/api/v1/kv/batch", &json!({"items": [{"key": "hot", "value": 8}]}))), json!(8)),
        (&|| drop(one.delete(path)), Value::Null),
    ];
    for (change, expected) in changes {
        change();
        assert_eq!(value(&one, path), expected, "in the gateway of the write");
        eventually(|| (value(&other, path) == expected).then_some(()));
        assert_eq!((value(&one, path), value(&other, path)), (expected.clone(), expected));
    }
    one.put(path, &json!({"value": 1, "ttl": 5}));
    assert_eq!(value(&other, path), json!(1));
    eventually(|| (other.get(path).status == 404 && one.get(path).status == 404).then_some(()));
}

#[test]
fn no_reader_goes_back_in_time_and_nobody_misses_his_own_write() {
    let (_redis, _gateways, clients) = cached();
    let path = "/api/v1/kv/counter";
    clients[0].put(path, &json!({"value": 0, "ttl": null}));
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| {
                let mut last = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let seen = client.get(path).json()["metadata"]["version"].as_u64().unwrap();
                    assert!(seen >= last, "version {seen} was read after {last}");
                    last = seen;
                }
            });
        }
        let writers: Vec<_> = clients
            .iter()
            .map(|client| {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let mine =
                            client.put(path, &json!({"value": 1, "ttl": null})).json()["metadata"]["version"]
                                .as_u64()
                                .unwrap();
                        let seen = client.get(path).json()["metadata"]["version"].as_u64().unwrap();
                        assert!(seen >= mine, "version {seen} was read after {mine} was written");
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    let version = |client: &Client| client.get(path).json()["metadata"]["version"].clone();
    for client in &clients {
        eventually(|| (version(client) == json!(601)).then_some(()));
    }
}

/// Passes bytes on until it is told to swallow them: the connections stay open, and nothing comes through.
struct Proxy {
    port: u16,
    swallows: Arc<AtomicBool>,
}

impl Proxy {
    fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (target, swallows) = (server.address(), Arc::new(AtomicBool::new(false)));
        let swallowing = swallows.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                for (mut from, mut to) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    let swallowing = swallowing.clone();
                    thread::spawn(move || {
                        let mut buffer = [0; 4096];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            if !swallowing.load(Ordering::Relaxed) && to.write_all(&buffer[..count]).is_err()
                            {
                                break;
                            }
                        }
                    });
                }
            }
        });
        Self { port, swallows }
    }
}

#[test]
fn behind_a_network_that_swallows_everything_nothing_old_is_served_for_long() {
    let server = Server::start();
    let proxy = Proxy::to(&server);
    let gateways = [server.address(), format!("127.0.0.1:{}", proxy.port)]
        .map(|address| start_with(&[with_cache(&address)]));
    let writer = Client::registered(&gateways[0], "acme");
    let reader = Client::with_token(&gateways[1], writer.token());
    let path = "/api/v1/kv/k";
    writer.put(path, &json!({"value": 1}));
    assert_eq!((value(&reader, path), value(&reader, path)), (json!(1), json!(1)));
    proxy.swallows.store(true, Ordering::Relaxed);
    writer.put(path, &json!({"value": 2}));
    // The old value, and then none; never the old one again.
    eventually(|| (reader.get(path).status != 200).then_some(()));
    for _ in 0..3 {
        assert!([503, 504].contains(&reader.get(path).status));
    }
    assert_eq!(value(&writer, path), json!(2), "who reaches Redis is served");
}

#[test]
fn what_was_kept_goes_with_the_connection() {
    let (redis, _gateways, [one, other]) = cached();
    let path = "/api/v1/kv/k";
    for round in 0..5 {
        one.put(path, &json!({"value": round}));
        eventually(|| (value(&other, path) == json!(round)).then_some(()));
        // Nobody tells the gateways of what happens meanwhile.
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let changed = json!(format!("changed {round}"));
        eventually(|| (one.put(path, &json!({"value": changed})).status == 200).then_some(()));
        eventually(|| (value(&other, path) == changed).then_some(()));
        let before = gets(&redis);
        for _ in 0..5 {
            assert_eq!(value(&other, path), changed);
        }
        assert!(gets(&redis) <= before + 1, "it is kept again");
    }
    redis.cli(&["FLUSHALL"]);
    eventually(|| (other.get(path).status == 404).then_some(()));
}
