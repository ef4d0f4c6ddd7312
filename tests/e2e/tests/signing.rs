//! Another key signs tokens while they are used.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use keystead_e2e::{EndsWhenDropped, Gateway, Tenant, User, get_json, kubectl_ok, within};
use serde_json::{Value, json};

const TOLD: &str = "keystead.io/signing-keys-told-at";

#[test]
fn tokens_of_both_keys_are_taken_until_those_of_the_former_have_expired() {
    let tenant = Tenant::ready("herald", &json!({}));
    let gateway = Gateway::installed();
    let rosa = tenant.register(&gateway, "rosa");
    let first = key_of(&rosa.access_token);
    let written = Gateway::patiently(|| gateway.put("/api/v1/kv/a", &rosa.access_token, &json!(1)));
    assert_eq!(written.status, 201, "{written:?}");

    let stop = AtomicBool::new(false);
    let (keys, refresh_token) = thread::scope(|scope| {
        let _end = EndsWhenDropped(&stop);
        let user = scope.spawn(|| refresh_until(&gateway, &rosa, &stop));
        kubectl_ok(&["annotate", "tenant", &tenant.name, "keystead.io/rotate-signing-keys=1"]);
        within(Duration::from_mins(2), "new tokens are signed with another key", || {
            let key = key_of(&log_in(&tenant, &gateway, &rosa));
            if key == first { Err(key) } else { Ok(()) }
        });
        let status = get_json(&["tenant", &tenant.name]).expect("the tenant is there")["status"].clone();
        assert_eq!(status["phase"], "Ready", "{status:#}");
        // Some more requests, now that gateways sign with the one or the other.
        thread::sleep(Duration::from_secs(10));
        stop.store(true, Ordering::Relaxed);
        user.join().expect("no request was refused")
    });
    assert!(keys.len() == 2 && keys.contains(&first), "{keys:?}");
    assert_eq!(read(&gateway, &rosa.access_token), 200, "it has not expired");

    // As if the life of a token were over.
    within(Duration::from_mins(1), "it is noted that the gateways were told", || {
        let annotations = tenant.field("secret", "credentials", "/metadata/annotations");
        let data = tenant.field("secret", "credentials", "/data");
        let is_switched = data["signing-eddsa-former.pem"].is_string();
        if is_switched && annotations[TOLD].is_string() { Ok(()) } else { Err(annotations) }
    });
    let long_ago = format!("{TOLD}=2020-01-01T00:00:00Z");
    let namespace = tenant.namespace();
    kubectl_ok(&["annotate", "secret", "credentials", "-n", &namespace, "--overwrite", &long_ago]);
    within(Duration::from_mins(1), "the former key no longer verifies", || {
        let status = read(&gateway, &rosa.access_token);
        if status == 401 { Ok(()) } else { Err(status) }
    });
    let data = tenant.field("secret", "credentials", "/data");
    let names: Vec<&String> = data.as_object().expect("keys").keys().collect();
    assert!(!names.iter().any(|name| name.contains("-former") || name.contains("-next")), "{names:?}");
    // Whoever was logged in still is.
    let (token, _) = refresh(&gateway, &refresh_token);
    assert_ne!(key_of(&token), first);
    assert_eq!(read(&gateway, &token), 200);
}

/// Refreshes again and again, and reads with the token just had and with the first; gives the keys of all tokens, and the
/// last refresh token.
fn refresh_until(gateway: &Gateway, user: &User, stop: &AtomicBool) -> (BTreeSet<String>, String) {
    let (mut keys, mut refresh_token) = (BTreeSet::new(), user.refresh_token.clone());
    while !stop.load(Ordering::Relaxed) {
        let (token, next) = refresh(gateway, &refresh_token);
        refresh_token = next;
        for token in [&token, &user.access_token] {
            assert_eq!(read(gateway, token), 200, "the token of {} was refused", key_of(token));
        }
        keys.insert(key_of(&token));
        thread::sleep(Duration::from_millis(50));
    }
    (keys, refresh_token)
}

fn refresh(gateway: &Gateway, refresh_token: &str) -> (String, String) {
    let body = json!({"refresh_token": refresh_token});
    let answer = Gateway::patiently(|| gateway.post("/api/v1/auth/refresh", None, &body));
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |field: &str| answer.body[field].as_str().expect(field).to_owned();
    (text("access_token"), text("refresh_token"))
}

fn log_in(tenant: &Tenant, gateway: &Gateway, user: &User) -> String {
    let body = json!({"username": user.username, "password": user.password, "tenant": tenant.name});
    let answer = Gateway::patiently(|| gateway.post("/api/v1/auth/login", None, &body));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["access_token"].as_str().expect("a token").to_owned()
}

fn read(gateway: &Gateway, token: &str) -> u16 {
    Gateway::patiently(|| gateway.get("/api/v1/kv/a", token)).status
}

/// The `kid` of a token.
fn key_of(token: &str) -> String {
    let header = token.split('.').next().expect("a header");
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).expect("base64");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("a kid").to_owned()
}
