//! `Idempotency-Key` on real gateways and a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    io::Write as _,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use client::{Answer, Client, code, eventually, two_gateways};
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

fn post(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
    client.raw("POST", path, &headers, body.to_string().as_bytes())
}

#[test]
fn a_repeated_request_is_carried_out_once_whichever_gateway_it_meets() {
    let (_redis, _gateways, [one, other]) = one_tenant();
    let incr = "/api/v1/kv/n/incr";
    let first = post(&one, incr, "k-1", &json!({"by": 5}));
    assert_eq!((first.status, first.header("idempotency-replayed").as_str()), (200, ""));
    for (client, path) in [(&one, incr), (&other, incr), (&other, "/t/acme/api/v1/kv/n/incr")] {
        let again = post(client, path, "k-1", &json!({"by": 5}));
        assert_eq!((again.status, again.body.clone()), (200, first.body.clone()));
        assert_eq!(again.header("etag"), first.header("etag"));
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    assert_eq!(one.get("/api/v1/kv/n").json()["value"], json!(5));
    assert_eq!(post(&one, incr, "k-2", &json!({"by": 5})).json()["value"], json!(10));
    // Another path is another request.
    assert_eq!(post(&one, "/api/v1/kv/m/incr", "k-1", &json!({"by": 5})).json()["value"], json!(5));
    assert_eq!(code(&post(&one, incr, "k-1", &json!({"by": 6}))), (422, "idempotency_key_reused".into()));

    let items = json!({"items": [{"key": "b", "value": 1}, {"op": "delete", "key": "b"}]});
    let first = post(&one, "/api/v1/kv/batch", "k-3", &items);
    one.put("/api/v1/kv/b", &json!({"value": "mine"}));
    let again = post(&other, "/api/v1/kv/batch", "k-3", &items);
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(one.get("/api/v1/kv/b").json()["value"], json!("mine"), "it was not deleted again");

    let job = json!({"kind": "ttl.sweep"});
    let first = post(&one, "/api/v1/jobs", "k-4", &job);
    let again = post(&other, "/api/v1/jobs", "k-4", &job);
    assert_eq!((again.status, again.header("location")), (202, first.header("location")));
    assert_eq!(one.get("/api/v1/jobs").json()["total"], json!(1));
}

#[test]
fn of_many_at_once_one_is_carried_out() {
    let (_redis, _gateways, clients) = one_tenant();
    for round in 0..10 {
        let key = format!("race-{round}");
        let answers: Vec<Answer> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number: usize| {
                    let (client, key) = (&clients[number % 2], &key);
                    scope.spawn(move || post(client, "/api/v1/kv/race/incr", key, &json!({})))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for answer in &answers {
            match answer.status {
                200 => assert_eq!(answer.json()["value"], json!(round + 1)),
                _ => assert_eq!(code(answer), (409, "idempotency_unknown".into())),
            }
        }
        assert!(answers.iter().any(|answer| answer.status == 200));
    }
    assert_eq!(clients[0].get("/api/v1/kv/race").json()["value"], json!(10));
}

#[test]
fn who_hung_up_gets_the_answer_when_he_asks_again() {
    let (redis, gateways, [one, _]) = one_tenant();
    let token = one.token();
    let mut round = 0;
    // The gateway waits 500 ms for Redis: anew where a busy machine took too much of them.
    let again = eventually(|| {
        round += 1;
        // Writes wait in Redis while the client sends and leaves.
        let paused = Instant::now();
        let in_time = || paused.elapsed() < Duration::from_millis(350);
        redis.cli(&["CLIENT", "PAUSE", "400", "WRITE"]);
        let mut stream = TcpStream::connect(("127.0.0.1", gateways[0].port())).unwrap();
        write!(
            stream,
            "POST /api/v1/kv/n{round}/incr HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Idempotency-Key: k{round}\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let waits = || redis.cli(&["INFO", "clients"]).contains("blocked_clients:1");
        while in_time() && !waits() {}
        drop(stream);
        // The gateway has seen it leave when it has no connection any more.
        let has_left = || one.metrics(&gateways[0]).contains("active_connections 0\n");
        while in_time() && !has_left() {}
        let is_of_use = in_time();
        redis.cli(&["CLIENT", "UNPAUSE"]);
        let (headers, key) =
            ([("Idempotency-Key", format!("k{round}"))], format!("/api/v1/kv/n{round}/incr"));
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        is_of_use.then(|| {
            eventually(|| {
                let answer = one.raw("POST", &key, &headers, b"");
                (answer.status == 200).then_some(answer)
            })
        })
    });
    assert_eq!((again.json(), again.header("idempotency-replayed").as_str()), (json!({"value": 1}), "true"));
}

#[test]
fn what_redis_could_not_be_asked_for_may_be_sent_again() {
    let (redis, _gateways, [one, other]) = one_tenant();
    let incr = "/api/v1/kv/n/incr";
    assert_eq!(post(&one, incr, "before", &json!({})).json()["value"], json!(1));
    // What is asked meanwhile is done when it goes on: the request is noted as begun, and its client has long been answered.
    redis.pause();
    assert!(post(&one, incr, "k", &json!({})).status > 500);
    redis.resume();
    let again = eventually(|| {
        let answer = post(&other, incr, "k", &json!({}));
        if answer.status == 200 {
            return Some(answer);
        }
        assert_eq!(code(&answer), (409, "idempotency_unknown".into()));
        None
    });
    assert_eq!(
        (again.json()["value"].clone(), again.header("idempotency-replayed")),
        (json!(2), String::new())
    );
    assert_eq!(post(&one, incr, "k", &json!({})).json()["value"], json!(2));
    assert_eq!(one.get("/api/v1/kv/n").json()["value"], json!(2));
}

#[test]
fn what_was_refused_may_be_sent_again_and_what_is_unknown_may_not() {
    let (redis, _gateways, [one, other]) = one_tenant();
    one.put("/api/v1/kv/n", &json!({"value": "no number"}));
    let incr = "/api/v1/kv/n/incr";
    assert_eq!(code(&post(&one, incr, "k", &json!({}))), (409, "not_a_number".into()));
    one.put("/api/v1/kv/n", &json!({"value": 1}));
    assert_eq!(post(&one, incr, "k", &json!({})).json()["value"], json!(2));

    // A gateway that died in the middle: begun, and no end.
    let begun = redis.cli(&["KEYS", "kv:{0}:q:*"]);
    let record = redis.cli(&["GET", begun.trim()]);
    let mut record: Value = serde_json::from_str(record.trim()).unwrap();
    record["answer"] = Value::Null;
    redis.cli(&["SET", begun.trim(), &record.to_string()]);
    assert_eq!(code(&post(&other, incr, "k", &json!({}))), (409, "idempotency_unknown".into()));
    assert_eq!(one.get("/api/v1/kv/n").json()["value"], json!(2));

    for (path, key, body) in [
        (incr, "", json!({})),
        (incr, &"x".repeat(256), json!({})),
        ("/api/v1/kv/batch", "k", json!({"items": [{"op": "get", "key": "n"}]})),
    ] {
        assert_eq!(code(&post(&one, path, key, &body)), (422, "invalid".into()), "{path} {key}");
    }
}
