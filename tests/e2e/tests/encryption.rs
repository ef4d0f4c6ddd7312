//! Values at rest, as a pod's Redis holds them, through a change of keys that fails no request.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use keystead_e2e::{Gateway, Tenant, kubectl_ok, within};
use serde_json::json;

const SECRET: &str = "the-word-that-nobody-may-see";

#[test]
fn values_are_encrypted_anew_with_a_new_key_while_they_are_read() {
    let tenant = Tenant::ready("vault", &json!({"encryption": {"enabled": true}}));
    let gateway = Gateway::installed();
    let ada = tenant.register(&gateway, "ada");
    let written = gateway.put("/api/v1/kv/a", &ada.access_token, &json!(SECRET));
    assert_eq!(written.status, 201, "{written:?}");
    let before = in_redis(&tenant, "kv:{0}:e:a");
    assert!(!before.is_empty() && !before.contains(SECRET), "{before}");

    tenant.patch(&json!({"encryption": {"keyVersion": 2}}));
    within(Duration::from_mins(3), "what was written before is encrypted anew", || {
        let read = gateway.get("/api/v1/kv/a", &ada.access_token);
        assert_eq!((read.status, &read.body["value"]), (200, &json!(SECRET)), "{read:?}");
        assert_eq!(read.body["metadata"]["version"], json!(1));
        let all = gateway.put("/api/v1/kv/b", &ada.access_token, &json!(SECRET));
        assert!(matches!(all.status, 200 | 201), "{all:?}");
        let now = in_redis(&tenant, "kv:{0}:e:a");
        assert!(!now.contains(SECRET), "{now}");
        if now == before { Err(now) } else { Ok(()) }
    });
    let data = tenant.field("secret", "credentials", "/data");
    assert!(data["encryption-key-1"].is_string() && data["encryption-key-2"].is_string());
}

/// What Redis answers to a GET, as its command line shows it.
fn in_redis(tenant: &Tenant, key: &str) -> String {
    let password = tenant.field("secret", "credentials", "/data/worker-password");
    let password = BASE64_STANDARD.decode(password.as_str().expect("a password")).expect("base64");
    let password = String::from_utf8(password).expect("text");
    let namespace = tenant.namespace();
    let cli =
        ["redis-cli", "--no-raw", "--no-auth-warning", "--user", "worker", "--pass", &password, "GET", key];
    let shown = kubectl_ok(&[&["exec", "-n", &namespace, "redis-0", "--"], &cli[..]].concat());
    shown.trim().trim_matches('"').replace("(nil)", "")
}
