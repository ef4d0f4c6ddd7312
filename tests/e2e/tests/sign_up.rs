//! A tenant of one's own: whoever reaches the gateway registers without naming one. Needs `gateway.signUp.enabled`, as
//! examples/values-local.yaml has it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use keystead_e2e::{Gateway, Tenant, eventually, get_json, kubectl_ok};
use serde_json::json;

#[test]
fn who_registers_without_a_tenant_owns_one_within_the_same_request() {
    let gateway = Gateway::installed();
    let registration =
        json!({"username": "grace", "email": "grace@example.com", "password": "Correct-horse-7"});
    let answer = gateway.sign_up(&registration);
    let name = answer.body["tenant_id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    let tenant = Tenant { name };
    assert_eq!(answer.status, 201, "{answer:?}");
    let token = answer.body["access_token"].as_str().expect("a token");

    let written = gateway.put("/api/v1/kv/first", token, &json!({"mine": true}));
    assert_eq!(written.status, 201, "{written:?}");
    let key = json!({"name": "of an owner", "scopes": ["kv:read"]});
    let key = gateway.post("/api/v1/auth/api-keys", Some(token), &key);
    assert_eq!(key.status, 201, "{key:?}");
    let read = gateway.get("/api/v1/kv/first", key.body["api_key"].as_str().expect("a key"));
    assert_eq!((read.status, &read.body["value"]), (200, &json!({"mine": true})), "{read:?}");

    let object = get_json(&["tenant", &tenant.name]).unwrap();
    assert_eq!(object["metadata"]["labels"]["keystead.io/sign-up"], "true", "{object}");
    assert!(!object.to_string().contains("grace"), "{object}");
    let secret = format!("secret/sign-up-{}", tenant.name);
    eventually("the account's Secret is gone", || {
        let left = kubectl_ok(&["get", "secrets", "-A", "-l", "keystead.io/sign-up=true", "-o", "name"]);
        if left.lines().any(|line| line == secret) { Err(left) } else { Ok(()) }
    });
    tenant.delete();
}
