//! The audit log on a real gateway and a real Redis: what is written down, what is not, and whom it holds up.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod client;

use std::{path::Path, time::Instant};

use client::{Client, code, eventually, owned, start_with};
use keystead_kv::acl;
use keystead_route::{Audit, Route};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};

const WORD: &str = "word-of-the-gateway";

/// A tenant with an audit log, whose Redis has its users, and its owner's key.
fn audited(max_entries: u64) -> (Server, Route, String) {
    let server = Server::with_users(&[&format!("user gateway on >{WORD} {}", acl::GATEWAY)]);
    let mut route = route("acme", &server.address());
    route.redis.username = Some("gateway".into());
    route.redis.password = Some(WORD.into());
    route.audit = Some(Audit { max_entries });
    let key = owned(&mut route);
    (server, route, key)
}

/// The log without what reads it, once the newest entry of another operation has this request id; the oldest first.
fn log_until(admin: &Client, last: &str) -> Vec<Value> {
    eventually(|| {
        let page = admin.get("/api/v1/audit?limit=1000").json();
        let mut items = page["items"].as_array().unwrap().clone();
        items.retain(|item| item["operation"] != "read_audit_log");
        items.reverse();
        (items.last()?["request_id"] == last).then_some(items)
    })
}

#[test]
fn every_operation_is_there_with_who_what_and_result_and_never_a_value() {
    let (redis, route, key) = audited(1000);
    let gateway = start_with(&[route]);
    let admin = Client::with_api_key(&gateway, &key);
    let ada = Client::registered(&gateway, "acme");
    let value = json!({"value": "the-secret-value", "tags": {"a": "the-secret-tag"}});
    ada.put("/api/v1/kv/a%2Fb", &value);
    ada.get("/t/acme/api/v1/kv/a%2Fb");
    ada.raw("HEAD", "/api/v1/kv/none", &[], b"");
    ada.post("/api/v1/kv", &json!({"key": "new", "value": "the-secret-value"}));
    let items = json!({"items": [{"key": "x", "value": "the-secret-value"}, {"op": "get", "key": "x"}]});
    ada.post("/api/v1/kv/batch", &items);
    ada.put("/api/v1/kv/batch", &value);
    ada.delete("/api/v1/kv/new");
    ada.get("/api/v1/kv?prefix=a");
    let job =
        ada.post("/api/v1/jobs", &json!({"kind": "kv.export"})).json()["id"].as_str().unwrap().to_owned();
    ada.delete(&format!("/api/v1/jobs/{job}"));
    assert_eq!(ada.get("/api/v1/audit").status, 403);
    let made = admin.post("/api/v1/auth/api-keys", &json!({"name": "till", "scopes": ["kv:read"]})).json();
    let (id, text) = (made["id"].as_str().unwrap(), made["api_key"].as_str().unwrap());
    Client::with_api_key(&gateway, text).put("/api/v1/kv/a", &value);
    admin.delete(&format!("/api/v1/auth/api-keys/{id}"));
    let login = |username: &str, password: &str, id: &str| {
        let body = json!({"tenant": "acme", "username": username, "password": password}).to_string();
        let headers = [("Content-Type", "application/json"), ("X-Request-Id", id)];
        Client::anonymous(&gateway).raw("POST", "/api/v1/auth/login", &headers, body.as_bytes())
    };
    login("ada", "Wrong-horse-7", "wrong");
    login("Correct-horse-7", "ada", "swapped");
    let tokens = login("ada", "Correct-horse-7", "right").json();
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    ada.post("/api/v1/auth/refresh", &refresh);
    // Nobody is known to whom this could belong.
    Client::with_token(&gateway, "no.token.at-all").get("/t/acme/api/v1/kv/a");
    ada.raw("GET", "/api/v1/auth/me", &[("X-Request-Id", "last")], b"");

    let api_key = format!("api-key:{id}");
    let found = log_until(&admin, "last");
    let brief: Vec<_> = found
        .iter()
        .map(|item| {
            let text = |name: &str| item[name].as_str().unwrap_or("-").to_owned();
            let what = item["items"].as_u64().map_or(text("target"), |items| items.to_string());
            let status = item["status"].as_u64().unwrap();
            (text("principal"), text("operation"), text("key"), what, status)
        })
        .collect();
    let expected = [
        ("ada", "register", "-", "-", 201),
        ("ada", "write_entry", "a/b", "-", 201),
        ("ada", "read_entry", "a/b", "-", 200),
        ("ada", "read_entry", "none", "-", 404),
        ("ada", "create_entry", "new", "-", 201),
        ("ada", "batch", "-", "2", 200),
        ("ada", "write_entry", "batch", "-", 201),
        ("ada", "delete_entry", "new", "-", 200),
        ("ada", "list_entries", "-", "-", 200),
        ("ada", "create_job", "-", &job, 202),
        ("ada", "cancel_job", "-", &job, 204),
        ("api-key:admin", "create_api_key", "-", id, 201),
        (&api_key, "write_entry", "a", "-", 403),
        ("api-key:admin", "revoke_api_key", "-", id, 204),
        ("ada", "login", "-", "-", 401),
        // What was entered may be a password.
        ("-", "login", "-", "-", 401),
        ("ada", "login", "-", "-", 200),
        ("ada", "refresh", "-", "-", 200),
        ("ada", "me", "-", "-", 200),
    ];
    let expected: Vec<_> = expected
        .map(|(who, what, key, target, status)| {
            (who.to_owned(), what.to_owned(), key.to_owned(), target.to_owned(), status)
        })
        .into();
    assert_eq!(brief, expected);
    let all = redis.cli(&["XRANGE", "audit:{l}:log", "-", "+"]);
    for secret in ["secret-value", "secret-tag", "Correct-horse", "Wrong-horse", text, &key] {
        assert!(!all.contains(secret), "{secret} is in {all}");
    }
}

#[test]
fn the_log_is_bounded_and_read_by_pages() {
    let (redis, route, key) = audited(1000);
    let gateway = start_with(&[route]);
    let admin = Client::with_api_key(&gateway, &key);
    for _ in 0..1100 {
        admin.get("/api/v1/auth/me");
    }
    let page = || admin.get("/api/v1/audit?limit=1").json();
    let dropped = |page: &Value| usize::try_from(page["dropped"].as_u64().unwrap()).unwrap();
    let before = eventually(|| {
        let page = page();
        (page["total"] == 1000 && dropped(&page) >= 100).then_some(dropped(&page))
    });
    assert_eq!(redis.cli(&["XLEN", "audit:{l}:log"]), "1000");
    let (mut path, mut ids) = ("/api/v1/audit?limit=300".to_owned(), Vec::new());
    loop {
        let answer = admin.get(&path);
        let page = answer.json();
        let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
        ids.extend(page["items"].as_array().unwrap().iter().map(id));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert_eq!(answer.header("link"), format!("<?cursor={cursor}&limit=300>; rel=\"next\""));
        path = format!("/api/v1/audit?limit=300&cursor={cursor}");
    }
    // That it was read is written down as well, and has pushed the oldest out.
    let pushed = dropped(&page()) - before;
    assert!(ids.len() <= 1000 && ids.len() + pushed >= 1000, "{} and {pushed}", ids.len());
    let number = |id: &String| {
        let (time, sequence) = id.split_once('-').unwrap();
        (time.parse::<u64>().unwrap(), sequence.parse::<u64>().unwrap())
    };
    assert!(ids.is_sorted_by(|newer, older| number(newer) > number(older)));
    for (query, says) in [
        ("limit=0", "limit: 1 to 1000"),
        ("limit=1001", "limit: 1 to 1000"),
        ("cursor=x", "take it from `next_cursor`"),
        ("page=2", "unknown field"),
    ] {
        let answer = admin.get(&format!("/api/v1/audit?{query}"));
        assert_eq!(code(&answer), (422, "invalid".into()));
        assert!(answer.text().contains(says), "{}", answer.text());
    }
}

#[test]
fn a_redis_that_hangs_holds_up_nobody_else_and_its_entries_come_later() {
    let (redis, route_of_acme, key) = audited(100_000);
    let other = Server::start();
    let mut route_of_shop = route("shop", &other.address());
    route_of_shop.audit = Some(Audit { max_entries: 1000 });
    let gateway = start_with(&[route_of_acme, route_of_shop]);
    let admin = Client::with_api_key(&gateway, &key);
    let shop = Client::registered(&gateway, "shop");
    redis.pause();
    // Refused without asking Redis: more than have room.
    let started = Instant::now();
    for _ in 0..12 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..250 {
                        assert_eq!(admin.get("/api/v1/jobs/none").status, 404);
                    }
                });
            }
        });
        assert_eq!(shop.get("/api/v1/kv/a").status, 404, "after {:?}", started.elapsed());
    }
    let dropped = || {
        let metrics = admin.metrics(&gateway);
        let name = "keystead_audit_dropped_total{tenant=\"acme\"} ";
        let dropped = metrics.lines().find_map(|line| line.strip_prefix(name));
        dropped.map_or(0, |dropped| dropped.parse::<u64>().unwrap())
    };
    assert!((1500..=2000).contains(&dropped()), "{} of 12000, of which 10000 have room", dropped());
    redis.resume();
    eventually(|| {
        let answer = admin.get("/api/v1/audit?limit=1");
        let page = if answer.status == 200 { answer.json() } else { Value::Null };
        let is_told = page["dropped"].as_u64()? == dropped();
        (is_told && page["total"].as_u64()? >= 10_000).then_some(())
    });
}

#[test]
fn what_waits_at_the_end_is_written_and_changes_of_the_route_lose_nothing() {
    let (redis, mut route, key) = audited(2000);
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let mut gateway = Gateway::start(binary, &[route.clone()]);
    let admin = Client::with_api_key(&gateway, &key);
    let length = || redis.cli(&["XLEN", "audit:{l}:log"]).parse::<u64>().unwrap();
    for _ in 0..20 {
        admin.get("/api/v1/auth/me");
    }
    route.audit = Some(Audit { max_entries: 1000 });
    route.limits.max_keys = Some(5);
    gateway.set_route(&route);
    eventually(|| (length() == 20).then_some(()));
    // Without it nothing is written.
    route.audit = None;
    gateway.set_route(&route);
    let before = eventually(|| {
        let before = length();
        let page = admin.get("/api/v1/audit?limit=1").json();
        (page["enabled"] == false).then_some(before)
    });
    admin.get("/api/v1/auth/me");
    route.audit = Some(Audit { max_entries: 1000 });
    gateway.set_route(&route);
    eventually(|| (admin.get("/api/v1/audit?limit=1").json()["enabled"] == true).then_some(()));
    for _ in 0..20 {
        assert_eq!(admin.raw("GET", "/api/v1/auth/me", &[("X-Request-Id", "late")], b"").status, 200);
    }
    gateway.terminate();
    assert!(gateway.wait());
    let log = redis.cli(&["XRANGE", "audit:{l}:log", "-", "+"]);
    assert_eq!(log.matches("\nlate\n").count(), 20, "{before} before: {log}");
}
