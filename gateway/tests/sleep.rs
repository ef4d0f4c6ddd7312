//! Tenants that sleep: the test plays the operator, by writing the route, and stops and starts the tenant's Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    path::{Path, PathBuf},
    thread,
};

use client::{Answer, Client, code, eventually, owned};
use keystead_route::{Hibernation, Route};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::json;

fn start(routes: &[Route], arguments: &[&str]) -> Gateway {
    Gateway::start_with(Path::new(env!("CARGO_BIN_EXE_keystead-gateway")), routes, arguments)
}

/// A tenant that may sleep and is awake, with its Redis, which keeps its data.
fn light_sleeper() -> (Server, Route) {
    let server = Server::durable();
    let mut route = route("acme", &server.address());
    route.hibernation = Some(Hibernation { asleep: false });
    (server, route)
}

/// What a gateway makes where somebody wants a tenant that sleeps.
fn call(gateway: &Gateway, name: &str) -> PathBuf {
    gateway.route_file("acme").with_file_name(name)
}

/// Tells the gateway that it sleeps, or is awake, and waits until it knows.
fn turn(gateway: &Gateway, route: &mut Route, asleep: bool) {
    route.hibernation = Some(Hibernation { asleep });
    gateway.set_route(route);
    let line = format!("keystead_gateway_tenants_asleep {}", u8::from(asleep));
    eventually(|| Client::anonymous(gateway).metrics(gateway).contains(&line).then_some(()));
}

fn value(answer: &Answer) -> (u16, serde_json::Value) {
    (answer.status, answer.json()["value"].clone())
}

#[test]
fn the_first_request_wakes_a_tenant_and_gets_its_answer() {
    let (mut server, mut route) = light_sleeper();
    let gateway = start(&[route.clone()], &[]);
    let ada = Client::registered(&gateway, "acme");
    assert_eq!(ada.put("/api/v1/kv/k", &json!({"value": 7})).status, 201);
    turn(&gateway, &mut route, true);
    server.kill();

    thread::scope(|scope| {
        let waiting: Vec<_> = (0..50).map(|_| scope.spawn(|| ada.get("/api/v1/kv/k"))).collect();
        eventually(|| call(&gateway, "wake-acme").exists().then_some(()));
        server.revive();
        turn(&gateway, &mut route, false);
        for answer in waiting {
            assert_eq!(value(&answer.join().unwrap()), (200, json!(7)));
        }
    });
    assert!(!call(&gateway, "knock-acme").exists());
    assert_eq!(value(&ada.get("/api/v1/kv/k")), (200, json!(7)));
}

#[test]
fn who_is_not_waited_for_is_told_to_come_again() {
    let (mut server, mut route) = light_sleeper();
    let gateway = start(&[route.clone()], &["--wake-wait", "1"]);
    let ada = Client::registered(&gateway, "acme");
    turn(&gateway, &mut route, true);
    server.kill();
    let answer = ada.put("/api/v1/kv/k", &json!({"value": 7}));
    assert_eq!(code(&answer), (503, "tenant_waking".into()));
    assert_eq!(answer.header("retry-after"), "2");
    assert!(call(&gateway, "wake-acme").exists());
    // Awake by its route, and its Redis does not answer yet.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ada.get("/api/v1/kv/k"));
        turn(&gateway, &mut route, false);
        let answer = waiting.join().unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
    });
    server.revive();
    // It was not given up while it slept: the first request is answered.
    turn(&gateway, &mut route, true);
    turn(&gateway, &mut route, false);
    assert_eq!(code(&ada.get("/api/v1/kv/k")), (404, "key_not_found".into()));
}

#[test]
fn only_who_may_wakes_a_tenant_and_who_might_only_knocks() {
    let (mut server, mut route) = light_sleeper();
    let admin = owned(&mut route);
    let gateway = start(&[route.clone()], &["--wake-wait", "0"]);
    let ada = Client::registered(&gateway, "acme");
    let admin = Client::with_api_key(&gateway, &admin);
    let made = |name: &str| {
        let body = json!({"name": name, "scopes": ["kv:read"]});
        let answer = admin.post("/api/v1/auth/api-keys", &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        Client::with_api_key(&gateway, answer.json()["api_key"].as_str().unwrap())
    };
    let (known, unknown) = (made("known"), made("unknown"));
    assert_eq!(code(&known.get("/api/v1/kv/k")), (404, "key_not_found".into()));
    turn(&gateway, &mut route, true);
    server.kill();

    let (wake, knock) = (call(&gateway, "wake-acme"), call(&gateway, "knock-acme"));
    let nobody = Client::anonymous(&gateway);
    let forged = Client::with_token(&gateway, &format!("{}x", ada.token()));
    assert_eq!(code(&nobody.get("/api/v1/kv/k")), (401, "missing_token".into()));
    assert_eq!(code(&forged.get("/api/v1/kv/k")), (401, "invalid_token".into()));
    let wrong = admin.credential().replace("0707", "0708");
    assert_eq!(
        code(&Client::with_api_key(&gateway, &wrong).get("/api/v1/kv/k")),
        (401, "invalid_token".into())
    );
    assert!(!wake.exists() && !knock.exists());

    // Its Redis is needed to tell: so the operator decides.
    let credentials = json!({"tenant": "acme", "username": "ada", "password": "Correct-horse-7"});
    let told = |answer: &Answer| assert_eq!(code(answer), (503, "tenant_waking".into()));
    told(&nobody.post("/api/v1/auth/login", &credentials));
    eventually(|| knock.exists().then_some(()));
    told(&unknown.get("/api/v1/kv/k"));
    assert!(!wake.exists());
    for client in [&known, &admin, &ada] {
        // In one second one call is made.
        eventually(|| {
            told(&client.get("/api/v1/kv/k"));
            wake.exists().then(|| std::fs::remove_file(&wake).unwrap())
        });
    }
}

#[test]
fn who_only_looks_whether_it_is_well_lets_it_sleep() {
    let (mut server, mut route) = light_sleeper();
    let admin = owned(&mut route);
    let gateway = start(&[route.clone()], &[]);
    let ada = Client::registered(&gateway, "acme");
    turn(&gateway, &mut route, true);
    server.kill();
    let health = ada.get("/t/acme/health");
    assert_eq!((health.status, health.json()["status"].clone()), (200, json!("sleeping")));
    let admin = Client::with_api_key(&gateway, &admin);
    assert_eq!(admin.get("/t/acme/health").status, 200);
    assert_eq!(admin.get("/t/acme/peers").status, 200);
    assert_eq!(Client::anonymous(&gateway).get("/health/ready").status, 200);
    assert!(!call(&gateway, "wake-acme").exists() && !call(&gateway, "knock-acme").exists());
}

#[test]
fn a_tenant_that_is_suspended_in_its_sleep_lets_nobody_wait() {
    let (_server, mut route) = light_sleeper();
    let gateway = start(&[route.clone()], &[]);
    let ada = Client::registered(&gateway, "acme");
    turn(&gateway, &mut route, true);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ada.get("/api/v1/kv/k"));
        eventually(|| call(&gateway, "wake-acme").exists().then_some(()));
        route.suspended = true;
        gateway.set_route(&route);
        assert_eq!(code(&waiting.join().unwrap()), (403, "tenant_suspended".into()));
    });
    assert_eq!(code(&ada.get("/api/v1/kv/k")), (403, "tenant_suspended".into()));
}

#[test]
fn what_was_used_is_noted_before_it_sleeps_and_a_look_at_its_health_is_no_use() {
    let (server, mut route) = light_sleeper();
    let (one, other) = (start(&[route.clone()], &[]), start(&[route.clone()], &[]));
    let ada = Client::registered(&one, "acme");
    // As if nobody had used it.
    let used = || server.cli(&["GET", "jobs:{j}:used"]);
    turn(&one, &mut route, true);
    eventually(|| (!used().is_empty()).then_some(()));
    server.cli(&["DEL", "jobs:{j}:used"]);

    let elsewhere = Client::with_token(&other, ada.token());
    assert_eq!(elsewhere.get("/t/acme/health").status, 200);
    turn(&other, &mut route, true);
    turn(&other, &mut route, false);
    assert_eq!(used(), "");
    assert_eq!(code(&elsewhere.get("/api/v1/kv/k")), (404, "key_not_found".into()));
    turn(&other, &mut route, true);
    eventually(|| (!used().is_empty()).then_some(()));
}
