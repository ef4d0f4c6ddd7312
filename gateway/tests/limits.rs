//! What is refused because it is too much: requests a second, and attempts to log in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use client::{Client, code, eventually, owned, start, start_with};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::json;

#[test]
fn a_tenant_that_exceeds_its_rate_is_told_so_and_no_other_is() {
    let (redis, other) = (Server::start(), Server::start());
    let mut limited = route("acme", &redis.address());
    limited.limits.requests_per_second = Some(1);
    limited.limits.burst = Some(5);
    let gateway = start_with(&[limited.clone(), route("beta", &other.address())]);
    let client = Client::registered(&gateway, "acme");
    let mut left = Vec::new();
    let refused = loop {
        let answer = client.get("/api/v1/kv/k");
        assert_eq!(answer.header("ratelimit-policy"), "\"tenant\";q=5;w=5");
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 404);
        left.push(answer.header("ratelimit"));
        assert!(left.len() < 20, "the limit does not hold: {left:?}");
    };
    assert!(left[0].starts_with("\"tenant\";r=4;t="), "registering takes nothing of it: {left:?}");
    assert_eq!(code(&refused), (429, "rate_limited".into()));
    assert_eq!(
        (refused.header("retry-after"), refused.header("ratelimit")),
        ("1".into(), "\"tenant\";r=0;t=5".into())
    );
    let beta = Client::registered(&gateway, "beta");
    for _ in 0..10 {
        let answer = beta.get("/api/v1/kv/k");
        assert_eq!((answer.status, answer.header("ratelimit")), (404, String::new()));
    }
    eventually(|| (client.get("/api/v1/kv/k").status == 404).then_some(()));

    // A higher rate holds at once, for tokens that were issued before.
    limited.limits.requests_per_second = Some(100_000);
    limited.limits.burst = None;
    gateway.set_route(&limited);
    eventually(|| {
        (client.get("/api/v1/kv/k").header("ratelimit-policy") == "\"tenant\";q=100000;w=1").then_some(())
    });
    assert_eq!(client.get("/api/v1/kv/k").status, 404);
}

/// Registers with a tenant `acme`.
fn registered_as(gateway: &Gateway, name: &str) -> Client {
    let body =
        json!({"username": name, "email": format!("{name}@example.com"), "password": "Correct-horse-7"});
    let answer = Client::anonymous(gateway).post("/t/acme/api/v1/auth/register", &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    Client::with_token(gateway, answer.json()["access_token"].as_str().unwrap())
}

#[test]
fn one_user_cannot_spend_what_the_others_have() {
    let redis = Server::start();
    let mut limited = route("acme", &redis.address());
    let admin = owned(&mut limited);
    (limited.limits.requests_per_second, limited.limits.burst) = (Some(100), Some(1000));
    (limited.limits.user_requests_per_second, limited.limits.user_burst) = (Some(1), Some(5));
    let gateway = start_with(&[limited.clone()]);
    let (ada, grace) = (registered_as(&gateway, "ada"), registered_as(&gateway, "grace"));
    // Another token is the same user, whatever case its name was entered in.
    let login = json!({"tenant": "acme", "username": "ADA", "password": "Correct-horse-7"});
    let tokens = Client::anonymous(&gateway).post("/api/v1/auth/login", &login).json();
    let again = Client::with_token(&gateway, tokens["access_token"].as_str().unwrap());
    let first = ada.get("/api/v1/kv/k");
    let both = r#""user";q=5;w=5, "tenant";q=1000;w=10"#;
    assert_eq!((first.status, first.header("ratelimit-policy").as_str()), (404, both));
    assert_eq!(first.header("ratelimit"), r#""user";r=4;t=1, "tenant";r=999;t=1"#);
    let refused = eventually(|| Some(ada.get("/api/v1/kv/k")).filter(|answer| answer.status == 429));
    assert_eq!(code(&refused), (429, "rate_limited".into()));
    assert!(refused.text().contains("this user exceeds the tenant's spec.limits.userRequestsPerSecond"));
    assert_eq!(
        [refused.header("retry-after"), refused.header("ratelimit"), refused.header("ratelimit-policy")],
        ["1", r#""user";r=0;t=5"#, r#""user";q=5;w=5"#]
    );
    let left = again.get("/api/v1/kv/k").header("ratelimit");
    assert!(!left.starts_with("\"user\";r=4;"), "{left}");
    let other = grace.get("/api/v1/kv/k");
    assert_eq!(other.status, 404, "{other:?}");
    assert!(other.header("ratelimit").starts_with("\"user\";r=4;t=1, "), "{other:?}");

    // An API key is no user.
    let admin = Client::with_api_key(&gateway, &admin);
    let made = admin.post("/api/v1/auth/api-keys", &json!({"name": "k", "scopes": ["kv:read"]})).json();
    let key = Client::with_api_key(&gateway, made["api_key"].as_str().unwrap());
    for client in [admin, key] {
        for _ in 0..10 {
            let answer = client.get("/api/v1/kv/k");
            assert_eq!(
                (answer.status, answer.header("ratelimit-policy").as_str()),
                (404, r#""tenant";q=1000;w=10"#)
            );
        }
    }

    // Also where only the users have a rate; a higher one holds at once.
    (limited.limits.requests_per_second, limited.limits.burst) = (None, None);
    (limited.limits.user_requests_per_second, limited.limits.user_burst) = (Some(1000), None);
    gateway.set_route(&limited);
    eventually(|| {
        let answer = ada.get("/api/v1/kv/k");
        (answer.header("ratelimit-policy") == r#""user";q=1000;w=1"#).then_some(())
    });
    assert_eq!(ada.get("/api/v1/kv/k").status, 404);
}

#[test]
fn strangers_spend_nothing_of_what_a_tenants_users_have() {
    let redis = Server::start();
    let mut limited = route("acme", &redis.address());
    limited.limits.requests_per_second = Some(1);
    limited.limits.burst = Some(5);
    let gateway = start_with(&[limited]);
    let client = Client::registered(&gateway, "acme");
    let nobody = Client::anonymous(&gateway);
    // Another name each time, for each has a limit of its own; and what is too long is no password, and costs no time.
    let (mut tried, wrong) = (0, "Wrong-horse-7".repeat(25));
    let refused = eventually(|| {
        tried += 1;
        let body = json!({"tenant": "acme", "username": format!("ghost-{tried}"), "password": wrong});
        let answer = nobody.post("/api/v1/auth/login", &body);
        (answer.status == 429).then_some(answer)
    });
    assert_eq!(code(&refused), (429, "rate_limited".into()));
    let answer = client.get("/api/v1/kv/k");
    assert_eq!(answer.status, 404);
    assert!(answer.header("ratelimit").starts_with("\"tenant\";r=4;t="), "{answer:?}");
}

#[test]
fn who_tries_names_of_one_tenant_holds_up_no_log_in_of_another() {
    let (_redis, gateway) = start(&["acme", "beta"]);
    Client::registered(&gateway, "beta");
    let nobody = Client::anonymous(&gateway);
    let login = |tenant: &str, username: &str, password: &str| {
        let body = json!({"tenant": tenant, "username": username, "password": password});
        nobody.post("/api/v1/auth/login", &body)
    };
    let is_full = AtomicBool::new(false);
    thread::scope(|scope| {
        for flood in 0..64 {
            let (login, is_full) = (&login, &is_full);
            scope.spawn(move || {
                for number in 0..50 {
                    let answer = login("acme", &format!("name-{flood}-{number}"), "Wrong-horse-7");
                    match answer.status {
                        401 => {}
                        503 => {
                            assert_eq!(code(&answer).1, "too_busy");
                            is_full.store(true, Ordering::Relaxed);
                        }
                        _ => panic!("{answer:?}"),
                    }
                    if is_full.load(Ordering::Relaxed) && number > 2 {
                        break;
                    }
                }
            });
        }
        for _ in 0..5 {
            assert_eq!(login("beta", "ada", "Correct-horse-7").status, 200);
        }
    });
    assert!(is_full.load(Ordering::Relaxed), "one tenant has all the places");
}

#[test]
fn passwords_cannot_be_tried_without_end() {
    let (_redis, gateway) = start(&["acme", "beta"]);
    Client::registered(&gateway, "acme");
    Client::registered(&gateway, "beta");
    let nobody = Client::anonymous(&gateway);
    let login = |tenant: &str, username: &str, password: &str| {
        let body = json!({"tenant": tenant, "username": username, "password": password});
        nobody.post("/api/v1/auth/login", &body)
    };
    // A name that nobody has is treated alike.
    for username in ["ada", "ghost"] {
        for _ in 0..10 {
            assert_eq!(code(&login("acme", username, "Wrong-horse-7")), (401, "wrong_credentials".into()));
        }
        let refused = login("acme", username, "Wrong-horse-7");
        assert_eq!(code(&refused), (429, "too_many_attempts".into()), "{username}");
        assert!(matches!(refused.header("retry-after").as_str(), "1" | "2"), "{refused:?}");
    }
    // Also the right one has to wait now, and then it is taken and the count begins anew.
    let token = eventually(|| {
        let answer = login("acme", "ada", "Correct-horse-7");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(token.header("cache-control"), "no-store");
    assert_eq!(login("acme", "ada", "Wrong-horse-7").status, 401);
    assert_eq!(login("beta", "ada", "Correct-horse-7").status, 200, "another tenant's user of that name");
}

#[test]
fn many_names_cannot_be_tried_from_one_address() {
    let redis = Server::start();
    let binary = Path::new(env!("CARGO_BIN_EXE_keystead-gateway"));
    let arguments = ["--failures-per-address", "5", "--trusted-proxies", "127.0.0.0/8"];
    let gateway = Gateway::start_with(binary, &[route("acme", &redis.address())], &arguments);
    let client = Client::anonymous(&gateway);
    let _ = Client::registered(&gateway, "acme");
    let log_in = |name: &str, password: &str, from: &str| {
        let body = json!({"tenant": "acme", "username": name, "password": password}).to_string();
        let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", from)];
        client.raw("POST", "/api/v1/auth/login", &headers, body.as_bytes())
    };
    for number in 0..5 {
        let answer = log_in(&format!("name-{number}"), "Wrong-horse-7", "198.51.100.1");
        assert_eq!(code(&answer), (401, "wrong_credentials".into()));
    }
    let refused = log_in("ada", "Correct-horse-7", "198.51.100.1");
    assert_eq!(code(&refused), (429, "too_many_attempts".into()));
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=300).contains(&seconds)));
    // What the client puts in front says nothing.
    assert_eq!(log_in("ada", "Correct-horse-7", "203.0.113.9, 198.51.100.1").status, 429);
    assert_eq!(log_in("ada", "Correct-horse-7", "203.0.113.9").status, 200, "from elsewhere");
}
