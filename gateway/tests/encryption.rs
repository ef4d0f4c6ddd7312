//! Values encrypted at rest, through two gateways, on a real Redis that is looked into.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod client;

use std::{collections::BTreeSet, path::Path, thread};

use client::{Client, code, eventually, start_with, two_gateways};
use keystead_route::{DataKey, Encryption, Route};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::json;

const SECRET: &str = "the-word-that-nobody-may-see";
const KEYS: [&str; 2] =
    ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="];

fn named(number: usize) -> DataKey {
    DataKey { name: format!("encryption-key-{number}"), secret: KEYS[number - 1].into() }
}

/// A route with these keys; `active` writes.
fn encrypted(redis: &Server, keys: &[usize], active: Option<usize>) -> Route {
    let encryption = Encryption {
        keys: keys.iter().map(|number| named(*number)).collect(),
        active_key: active.map(|number| named(number).name),
    };
    Route { encryption: Some(encryption), ..route("acme", &redis.address()) }
}

/// Whether a text can be read under some key of Redis, also one of a hash or a stream.
fn is_readable(redis: &Server, text: &str) -> bool {
    let keys = redis.cli(&["KEYS", "*"]);
    // The names of tag sets have a byte 0 and hold no values.
    keys.lines().filter(|key| !key.contains('\0')).any(|key| {
        let read: &[&str] = match redis.cli(&["TYPE", key]).as_str() {
            "string" => &["GET", key],
            "hash" => &["HGETALL", key],
            "stream" => &["XRANGE", key, "-", "+"],
            _ => return false,
        };
        redis.cli(read).contains(text)
    })
}

#[test]
fn every_way_to_write_encrypts_and_every_way_to_read_decrypts() {
    let redis = Server::start();
    let gateway = start_with(&[encrypted(&redis, &[1], Some(1))]);
    let ada = Client::registered(&gateway, "acme");
    let value = json!({"word": SECRET});
    assert_eq!(ada.put("/api/v1/kv/a", &json!({"value": value, "tags": {"colour": "red"}})).status, 201);
    assert_eq!(ada.post("/api/v1/kv", &json!({"key": "b", "value": SECRET})).status, 201);
    let items = json!({"items": [{"key": "c", "value": SECRET}, {"op": "get", "key": "a"}]});
    assert_eq!(ada.post("/api/v1/kv/batch", &items).json()["items"][1]["value"], value);
    let patched = ada.raw(
        "PATCH",
        "/api/v1/kv/a",
        &[("Content-Type", "application/merge-patch+json")],
        json!({"more": SECRET}).to_string().as_bytes(),
    );
    assert_eq!(patched.json()["value"], json!({"word": SECRET, "more": SECRET}), "{}", patched.text());
    let numbers: Vec<_> = (0..2)
        .map(|_| {
            let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "one")];
            ada.raw("POST", "/api/v1/kv/n/incr", &headers, br#"{"by": 4711000815}"#)
        })
        .collect();
    assert_eq!(numbers[0].json(), json!({"value": 4_711_000_815_i64}));
    assert_eq!(numbers[1].header("idempotency-replayed"), "true");
    assert_eq!(ada.post("/api/v1/kv/b/incr", &json!({})).status, 409);
    // As where nothing is encrypted: nothing is added to what JSON numbers cannot hold.
    ada.put("/api/v1/kv/large", &json!({"value": 9_007_199_254_740_993_u64}));
    assert_eq!(ada.post("/api/v1/kv/large/incr", &json!({"by": -5})).json()["code"], "number_too_large");
    ada.delete("/api/v1/kv/large");

    for text in [SECRET, "4711000815"] {
        assert!(!is_readable(&redis, text), "{text} can be read in Redis");
    }
    assert!(is_readable(&redis, "ada@example.com"), "this looks into Redis");
    let entry = ada.get("/api/v1/kv/a").json();
    assert_eq!(
        (&entry["value"]["word"], &entry["metadata"]["tags"]),
        (&json!(SECRET), &json!({"colour": "red"}))
    );
    assert_eq!(entry["metadata"]["version"], json!(2));
    let list = ada.get("/api/v1/kv?values=true&tag_filter=colour:red&limit=10").json();
    assert_eq!(list["items"][0]["value"]["word"], json!(SECRET));
    assert_eq!(ada.get("/api/v1/kv").json()["total"], json!(4));
}

#[test]
fn a_change_of_keys_fails_no_request_of_any_gateway() {
    let redis = Server::start();
    let ([one, other], [ada, eve]) = two_gateways(&encrypted(&redis, &[1], Some(1)));
    assert_eq!(ada.put("/api/v1/kv/old", &json!({"value": SECRET})).status, 201);
    // One gateway learns of the new key before the other.
    one.set_route(&encrypted(&redis, &[1, 2], Some(2)));
    for number in 0..50 {
        assert_eq!(
            ada.put("/api/v1/kv/new", &json!({"value": number})).status,
            if number == 0 { 201 } else { 200 }
        );
        assert_eq!(eve.get("/api/v1/kv/new").json()["value"], json!(number));
    }
    other.set_route(&encrypted(&redis, &[1, 2], Some(2)));
    // Written with the new key in the end: who has only the old one cannot read it, and says so.
    let late = start_with(&[encrypted(&redis, &[1], Some(1))]);
    let late = Client::with_token(&late, ada.token());
    let refused = eventually(|| {
        assert_eq!(ada.put("/api/v1/kv/new", &json!({"value": SECRET})).status, 200);
        assert_eq!(eve.get("/api/v1/kv/new").json()["value"], json!(SECRET));
        Some(late.get("/api/v1/kv/new")).filter(|answer| answer.status != 200)
    });
    assert_eq!(code(&refused), (503, "encryption_key_unknown".into()));
    assert!(!refused.text().contains(SECRET));
    assert_eq!(late.get("/api/v1/kv/old").json()["value"], json!(SECRET));
}

#[test]
fn turned_off_what_was_encrypted_stays_readable() {
    let redis = Server::start();
    let gateway = start_with(&[encrypted(&redis, &[1], Some(1))]);
    let ada = Client::registered(&gateway, "acme");
    assert_eq!(ada.put("/api/v1/kv/a", &json!({"value": SECRET})).status, 201);
    gateway.set_route(&encrypted(&redis, &[1], None));
    eventually(|| {
        assert_eq!(ada.put("/api/v1/kv/b", &json!({"value": SECRET})).status / 100, 2);
        is_readable(&redis, SECRET).then_some(())
    });
    for key in ["a", "b"] {
        assert_eq!(ada.get(&format!("/api/v1/kv/{key}")).json()["value"], json!(SECRET));
    }
}

#[test]
fn counters_stay_exact_through_two_gateways() {
    let redis = Server::start();
    let (_gateways, [ada, eve]) = two_gateways(&encrypted(&redis, &[1], Some(1)));
    let adders: Vec<_> = [&ada, &eve, &ada, &eve, &ada, &eve]
        .map(|client| {
            let client = client.clone();
            thread::spawn(move || {
                let add = || client.post("/api/v1/kv/n/incr", &json!({})).json()["value"].as_i64().unwrap();
                (0..30).map(|_| add()).collect::<BTreeSet<i64>>()
            })
        })
        .into();
    let mut seen = BTreeSet::new();
    for adder in adders {
        seen.append(&mut adder.join().unwrap());
    }
    assert_eq!(seen, (1..=180).collect());
}

#[test]
fn a_key_that_is_none_leaves_the_last_good_route() {
    let redis = Server::start();
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let gateway = Gateway::start_logging(binary, &[encrypted(&redis, &[1], Some(1))], &[]);
    let ada = Client::registered(&gateway, "acme");
    assert_eq!(ada.put("/api/v1/kv/a", &json!({"value": 1})).status, 201);
    let mut wrong = encrypted(&redis, &[1], Some(1));
    wrong.encryption.as_mut().unwrap().keys[0].secret = "short".into();
    gateway.set_route(&wrong);
    eventually(|| gateway.log().contains("is not 32 bytes in base64").then_some(()));
    let mut other = encrypted(&redis, &[1], Some(1));
    other.limits.max_value_bytes = 10;
    assert_eq!(ada.get("/api/v1/kv/a").json()["value"], json!(1));
    gateway.set_route(&other);
    eventually(|| (ada.put("/api/v1/kv/b", &json!({"value": SECRET})).status == 413).then_some(()));
    assert_eq!(ada.get("/api/v1/kv/a").json()["value"], json!(1));
}
