//! What people see of a gateway: health and figures of a tenant, peers, access log, log levels.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::path::Path;

use client::{Client, code, eventually, owned, start_with};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};

fn start(arguments: &[&str]) -> (Server, Gateway, Client) {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    let admin = owned(&mut route);
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let gateway = Gateway::start_logging(binary, &[route], arguments);
    let admin = Client::with_api_key(&gateway, &admin);
    (server, gateway, admin)
}

#[test]
fn an_admin_sees_how_the_tenants_redis_does_and_a_user_whether_it_is_there() {
    let (mut redis, gateway, admin) = start(&["--peers", "localhost:8080"]);
    let user = Client::registered(&gateway, "acme");
    user.put("/api/v1/kv/k", &json!({"value": 1}));
    for path in ["/t/acme/health", "/t/acme/api/v1/health"] {
        let health = user.get(path);
        assert_eq!((health.status, &health.json()["redis"]["available"]), (200, &json!(true)), "{path}");
        assert_eq!(code(&Client::anonymous(&gateway).get(path)), (401, "missing_token".into()), "{path}");
    }
    for path in ["/t/acme/api/v1/health/live", "/t/acme/api/v1/health/ready"] {
        assert_eq!(Client::anonymous(&gateway).get(path).status, 200, "{path}: of the gateway");
    }
    for path in ["/t/acme/diag", "/api/v1/diag", "/t/acme/peers"] {
        assert_eq!(code(&user.get(path)), (403, "missing_scope".into()), "{path}");
    }
    let diag = admin.get("/t/acme/diag");
    assert_eq!(diag.status, 200, "{}", diag.text());
    let figures = diag.json();
    assert_eq!((&figures["keys"], &figures["redis"]["role"]), (&json!(1), &json!("master")));
    assert_eq!(figures["redis"]["breaker"], json!("closed"));
    assert!(figures["redis"]["used_memory_bytes"].as_u64().unwrap() > 100_000, "{figures}");
    assert!(figures["redis"]["version"].as_str().unwrap().contains('.'), "{figures}");
    assert_eq!(figures["gateway"]["requests_in_flight"], json!(1), "this one");

    assert_eq!(figures["usage"], Value::Null, "no worker has looked");
    let usage = r#"{"observed_at":1769860800000,"keys":7,"memory_bytes":1,"max_memory_bytes":2,"hit_rate":0.5,"connections":3,"replication_lag_bytes":null,"queue_depth":4,"queue_age_ms":5}"#;
    redis.cli(&["SET", "jobs:{j}:usage", usage]);
    let usage = admin.get("/t/acme/diag").json()["usage"].clone();
    assert_eq!((&usage["keys"], &usage["observed_at"]), (&json!(7), &json!("2026-01-31T12:00:00.000Z")));

    let peers = eventually(|| {
        let peers = admin.get("/t/acme/peers").json();
        (peers["count"].as_u64()? > 0).then_some(peers)
    });
    assert!(peers["peers"].as_array().unwrap().contains(&json!("127.0.0.1")), "{peers}");
    assert!(!admin.metrics(&gateway).contains("kv_peers_count 0"));

    redis.kill();
    assert_eq!(code(&user.get("/t/acme/health")), (503, "redis_unavailable".into()));
    let figures = admin.get("/t/acme/diag").json();
    assert_eq!((&figures["redis"]["available"], &figures["keys"]), (&json!(false), &Value::Null));
}

#[test]
fn a_request_is_logged_with_its_tenant_and_id_and_without_what_is_secret() {
    let arguments = ["--access-log", "all", "--log", "info", "--log-format", "json"];
    let (_redis, gateway, admin) = start(&arguments);
    let user = Client::registered(&gateway, "acme");
    let headers = [("Content-Type", "application/json"), ("X-Request-Id", "my-request")];
    user.raw("PUT", "/t/acme/api/v1/kv/private-key", &headers, b"{\"value\":\"private-value\"}");
    admin.get("/api/v1/kv/private-key");
    Client::with_token(&gateway, "forged").get("/api/v1/kv/private-key");
    let lines = eventually(|| {
        let log = gateway.log();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let access: Vec<Value> = lines.into_iter().filter(|line| line["target"] == "access").collect();
        // The first are of the harness, which asks whether it is ready.
        (access.last()?["status"] == 401).then_some(access)
    });
    let of = |status: u16, method: &str| {
        let found = lines.iter().find(|line| line["status"] == status && line["method"] == method);
        found.unwrap_or_else(|| panic!("no {method} with {status}: {lines:?}")).clone()
    };
    let put = of(201, "PUT");
    assert_eq!(
        (&put["request_id"], &put["tenant"], &put["principal"], &put["endpoint"]),
        (&json!("my-request"), &json!("acme"), &json!("ada"), &json!("/t/{tenant}/api/v1/kv/{key}"))
    );
    assert!(put["took_us"].as_u64().unwrap() > 0);
    let get = lines.iter().find(|line| line["principal"] == "api-key:admin").expect("the admin's");
    assert_eq!((&get["tenant"], &get["status"]), (&json!("acme"), &json!(200)));
    assert_eq!(of(401, "GET")["tenant"], Value::Null, "who is not known has no tenant");
    let log = gateway.log();
    for secret in ["private-key", "private-value", "Correct-horse-7", user.credential(), admin.credential()] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn log_levels_change_while_it_runs() {
    let (_redis, gateway, admin) = start(&["--access-log", "all"]);
    let platform = Client::anonymous_at(gateway.admin_port());
    let levels = platform.get("/admin/log-levels");
    assert_eq!(levels.json(), json!({"level": "warn", "targets": {}}));
    admin.get("/api/v1/kv/k");
    assert!(!gateway.log().contains("answered"), "info is not logged");
    let wanted = json!({"level": "warn", "targets": {"access": "info"}});
    assert_eq!(platform.put("/admin/log-levels", &wanted).json(), wanted);
    admin.get("/api/v1/kv/k");
    eventually(|| gateway.log().contains("answered").then_some(()));
    for wrong in [json!({"level": "loud"}), json!({"targets": {}}), json!({"level": "info", "other": 1})] {
        assert_eq!(code(&platform.put("/admin/log-levels", &wrong)), (422, "invalid".into()), "{wrong}");
    }
    let large = " ".repeat((2 << 20) + 1);
    for (method, path, body, refusal) in [
        ("PUT", "/admin/log-levels", "{", (400, "bad_request")),
        ("DELETE", "/admin/log-levels", "", (405, "method_not_allowed")),
        ("GET", "/admin", "", (404, "route_unknown")),
        ("PUT", "/admin/log-levels", large.as_str(), (413, "too_large")),
    ] {
        let answer = platform.raw(method, path, &[("X-Request-Id", "mine")], body.as_bytes());
        assert_eq!(code(&answer), (refusal.0, refusal.1.into()), "{method} {path}");
        assert_eq!(answer.header("x-request-id"), "mine");
    }
    assert_eq!(platform.get("/admin/log-levels").json(), wanted);
    // Not where everybody can reach it.
    assert_eq!(admin.get("/admin/log-levels").status, 404);
}

#[test]
fn nobody_waits_for_a_redis_that_has_not_answered_for_a_while() {
    let server = Server::start();
    let gateway = start_with(&[route("acme", &server.address())]);
    let client = Client::registered(&gateway, "acme");
    client.put("/api/v1/kv/k", &json!({"value": 1}));
    server.pause();
    let at_once = |count: usize| -> Vec<u16> {
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                (0..count).map(|_| scope.spawn(|| client.get("/api/v1/kv/k").status)).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let waited = at_once(32).iter().filter(|status| **status == 504).count();
    assert!(waited >= 16, "{waited} have waited for the deadline");
    // From now on one now and then waits for it; the others are told at once.
    let told = at_once(32).iter().filter(|status| **status == 503).count();
    assert!(told >= 16, "{told} were told at once");
    server.resume();
    eventually(|| (client.get("/api/v1/kv/k").status == 200).then_some(()));
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": 2})).status, 200);
}
