//! The REST contract on a real gateway process and a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::{Client, code, start};
use keystead_tests::{gateway::route, redis::Server};
use serde_json::json;

#[test]
fn an_entry_goes_through_its_life() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");

    let created =
        client.post("/api/v1/kv", &json!({"key": "a/b c", "value": {"n": 1}, "ttl": 60, "tags": {"t": "v"}}));
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("location"), "/t/acme/api/v1/kv/a%2Fb%20c");
    let body = created.json();
    assert_eq!((&body["key"], &body["value"]), (&json!("a/b c"), &json!({"n": 1})));
    assert_eq!((&body["metadata"]["version"], &body["metadata"]["tags"]), (&json!(1), &json!({"t": "v"})));
    let stamp = body["metadata"]["created_at"].as_str().unwrap();
    assert!(stamp.len() == 27 && stamp.ends_with('Z'), "RFC 3339 in UTC: {stamp}");

    for prefix in ["/api/v1", "/t/acme/api/v1"] {
        let read = client.get(&format!("{prefix}/kv/a%2Fb%20c"));
        assert_eq!((read.status, &read.json()["value"]), (200, &json!({"n": 1})));
        assert_eq!(read.header("etag"), created.header("etag"));
        assert_eq!(client.get(&format!("{prefix}/kv/a%2Fb%20c/exists")).json(), json!({"exists": true}));
        let left = client.get(&format!("{prefix}/kv/a%2Fb%20c/ttl")).json()["ttl"].as_i64().unwrap();
        assert!((58..=60).contains(&left), "{left}");
    }
    let replaced = client.put("/api/v1/kv/a%2Fb%20c", &json!({"value": [1, 2], "ttl": null}));
    assert_eq!((replaced.status, &replaced.json()["metadata"]["version"]), (200, &json!(2)));
    assert_eq!(client.get("/api/v1/kv/a%2Fb%20c/ttl").json(), json!({"ttl": -1}));
    assert_eq!(client.get("/api/v1/kv/stats/count").json(), json!({"count": 1}));
    let deleted = client.delete("/api/v1/kv/a%2Fb%20c");
    assert_eq!((deleted.status, deleted.json()), (200, json!({"message": "Key deleted successfully"})));
    assert_eq!(code(&client.get("/api/v1/kv/a%2Fb%20c")), (404, "key_not_found".into()));
    assert_eq!(code(&client.get("/api/v1/kv/a%2Fb%20c/ttl")), (404, "key_not_found".into()));
    assert_eq!(client.get("/api/v1/kv/a%2Fb%20c/exists").json(), json!({"exists": false}));
}

#[test]
fn no_route_hides_a_key_and_no_value_is_changed() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    for key in
        ["stats", "batch", "exists", "ttl", "count", "a%2Fexists", "..%2F..%2Fhealth", "%F0%9F%94%91", "%25"]
    {
        let path = format!("/api/v1/kv/{key}");
        assert_eq!(client.put(&path, &json!({"value": key})).status, 201, "{key}");
        assert_eq!(client.get(&path).json()["value"], json!(key));
    }
    // Numbers that no float holds, duplicate keys, blanks: the text itself is kept.
    for text in [
        "12345678901234567890.12345678901234567890",
        "1e400",
        r#"{"a":1,"a":2}"#,
        "[ 1 ,\t2 ]",
        r#""\u0000""#,
    ] {
        let body = format!("{{\"value\":{text}}}");
        client.raw("PUT", "/api/v1/kv/text", &[("Content-Type", "application/json")], body.as_bytes());
        let bytes = client.raw("GET", "/api/v1/kv/text", &[("Accept", "application/octet-stream")], b"");
        assert_eq!(String::from_utf8_lossy(&bytes.body), text);
        let json = client.raw("GET", "/api/v1/kv/text", &[], b"");
        assert!(json.text().contains(text), "{}", json.text());
    }
    let bytes: Vec<u8> = (0..=255).collect();
    let headers = [("Content-Type", "image/png"), ("X-TTL", "0"), ("X-Tags", "a=1, b=2")];
    assert_eq!(client.raw("PUT", "/api/v1/kv/image", &headers, &bytes).status, 201);
    let read = client.raw("GET", "/api/v1/kv/image", &[("Accept", "application/octet-stream")], b"");
    assert_eq!(read.header("vary"), "accept", "a cache must not mix the two forms up");
    assert_eq!(client.get("/api/v1/kv/image").header("vary"), "accept");
    assert_eq!((read.body.clone(), read.header("content-type")), (bytes, "image/png".to_owned()));
    assert_eq!(read.header("x-content-type-options"), "nosniff");
    let json = client.get("/api/v1/kv/image").json();
    assert!(json["value"]["$base64"].as_str().unwrap().starts_with("AAECAw"), "{json}");
    assert_eq!(json["metadata"]["tags"], json!({"a": "1", "b": "2"}));
    assert_eq!(json["metadata"]["ttl"], json!(null));
}

#[test]
fn conditions_are_those_of_http() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let path = "/api/v1/kv/k";
    let put = |name: &str, value: &str| {
        client.raw("PUT", path, &[("Content-Type", "application/json"), (name, value)], b"{\"value\":1}")
    };
    assert_eq!(code(&put("If-Match", "*")), (412, "condition_failed".into()));
    let first = put("If-None-Match", "*");
    assert_eq!(first.status, 201);
    assert_eq!(code(&put("If-None-Match", "*")), (412, "condition_failed".into()));
    let etag = first.header("etag");
    let with_others = format!("\"other\", {etag}");
    assert_eq!(put("If-Match", &with_others).status, 200);
    assert_eq!(code(&put("If-Match", &etag)), (412, "condition_failed".into()), "the tag is stale");
    let current = client.get(path).header("etag");
    assert_eq!(client.raw("GET", path, &[("If-None-Match", &current)], b"").status, 304);
    assert_eq!(client.raw("GET", path, &[("If-None-Match", &format!("W/{current}"))], b"").status, 304);
    assert_eq!(client.raw("GET", path, &[("If-None-Match", &etag)], b"").status, 200);
    assert_eq!(
        code(&client.raw("DELETE", path, &[("If-Match", &etag)], b"")),
        (412, "condition_failed".into())
    );
    assert_eq!(client.raw("DELETE", path, &[("If-Match", &current)], b"").status, 200);
    let taken = json!({"key": "p", "value": 1});
    assert_eq!(client.post("/api/v1/kv", &taken).status, 201);
    assert_eq!(code(&client.post("/api/v1/kv", &taken)), (409, "key_exists".into()));
}

#[test]
fn lists_have_pages_cursors_and_an_exact_total() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    for n in 0..25 {
        client.put(&format!("/api/v1/kv/k{n:02}"), &json!({"value": n, "tags": {"n": n.to_string()}}));
    }
    client.put("/api/v1/kv/other", &json!({"value": 0}));
    let page = client.get("/api/v1/kv?prefix=k&page=3&page_size=10").json();
    let keys: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["key"].clone()).collect();
    assert_eq!(keys, [json!("k20"), json!("k21"), json!("k22"), json!("k23"), json!("k24")]);
    assert_eq!((&page["total"], &page["page"], &page["page_size"]), (&json!(25), &json!(3), &json!(10)));
    assert_eq!(page["items"][0]["metadata"]["tags"], json!({"n": "20"}));
    assert!(page.get("next_cursor").is_none(), "{page}");

    let mut path = "/api/v1/kv?limit=10".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = client.get(&path);
        let json = answer.json();
        seen.extend(
            json["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = json["next_cursor"].as_str() else { break };
        assert_eq!(answer.header("link"), format!("<?cursor={cursor}&limit=10>; rel=\"next\""));
        path = format!("/api/v1/kv?limit=10&cursor={cursor}");
    }
    assert_eq!((seen.len(), seen.last().unwrap().as_str()), (26, "other"));
    for query in ["page=0", "page_size=1001", "page_size=x", "cursor=%21", "page=1&cursor=aw", "unknown=1"] {
        assert_eq!(code(&client.get(&format!("/api/v1/kv?{query}"))), (422, "invalid".into()), "{query}");
    }
}

#[test]
fn accounts_and_tokens_live_as_the_contract_says() {
    let (_redis, gateway) = start(&["acme"]);
    let nobody = Client::anonymous(&gateway);
    let registration = json!({"tenant": "acme", "username": "Ada", "email": "ada@example.com", "password": "Correct-horse-7"});
    let registered = nobody.post("/api/v1/auth/register", &registration);
    assert_eq!(registered.status, 201, "{registered:?}");
    let tokens = registered.json();
    assert_eq!((&tokens["tenant_id"], &tokens["token_type"]), (&json!("acme"), &json!("bearer")));
    assert_eq!(tokens["expires_in"], json!(1800));
    let again = nobody.post(
        "/t/acme/api/v1/auth/register",
        &json!({"username": "ada", "email": "b@example.com", "password": "Correct-horse-7"}),
    );
    assert_eq!(code(&again), (409, "account_exists".into()));

    let login = |password: &str, username: &str| {
        nobody.post(
            "/api/v1/auth/login",
            &json!({"tenant": "acme", "username": username, "password": password}),
        )
    };
    assert_eq!(code(&login("Correct-horse-8", "ada")), (401, "wrong_credentials".into()));
    assert_eq!(login("Correct-horse-8", "ada").without_id(), login("Correct-horse-7", "nobody").without_id());
    let logged_in = login("Correct-horse-7", "ada").json();
    let ada = Client::with_token(&gateway, logged_in["access_token"].as_str().unwrap());
    let me = ada.get("/api/v1/auth/me").json();
    assert_eq!(
        (&me["username"], &me["email"], &me["is_active"]),
        (&json!("Ada"), &json!("ada@example.com"), &json!(true))
    );
    assert_eq!(me["scopes"], json!(["kv:read", "kv:write", "jobs:read", "jobs:write"]));

    let refresh =
        |token: &serde_json::Value| nobody.post("/api/v1/auth/refresh", &json!({"refresh_token": token}));
    let rotated = refresh(&tokens["refresh_token"]);
    assert_eq!((rotated.status, &rotated.json()["token_type"]), (200, &json!("bearer")));
    assert_eq!(code(&refresh(&tokens["refresh_token"])), (401, "invalid_token".into()), "spent");
    assert_eq!(
        code(&refresh(&rotated.json()["refresh_token"])),
        (401, "invalid_token".into()),
        "its family ends"
    );
    let out = ada.post("/api/v1/auth/logout", &json!({"refresh_token": logged_in["refresh_token"]}));
    assert_eq!(out.status, 204);
    assert_eq!(code(&refresh(&logged_in["refresh_token"])), (401, "invalid_token".into()), "logged out");
}

#[test]
fn closed_sign_up_and_suspension_are_told() {
    let redis = Server::start();
    let mut closed = route("acme", &redis.address());
    closed.auth.sign_up = keystead_route::SignUp::Closed;
    let gateway = client::start_with(&[closed.clone()]);
    let registration = json!({"tenant": "acme", "username": "ada", "email": "ada@example.com", "password": "Correct-horse-7"});
    let nobody = Client::anonymous(&gateway);
    assert_eq!(code(&nobody.post("/api/v1/auth/register", &registration)), (403, "sign_up_closed".into()));
    closed.auth.sign_up = keystead_route::SignUp::Open;
    gateway.set_route(&closed);
    let client = client::eventually(|| {
        let answer = nobody.post("/api/v1/auth/register", &registration);
        (answer.status == 201)
            .then(|| Client::with_token(&gateway, answer.json()["access_token"].as_str().unwrap()))
    });
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": 1})).status, 201);
    closed.suspended = true;
    gateway.set_route(&closed);
    client::eventually(|| refused(&client.get("/api/v1/kv/k"), 403, "tenant_suspended"));
    closed.suspended = false;
    gateway.set_route(&closed);
    client::eventually(|| (client.get("/api/v1/kv/k").status == 200).then_some(()));
    gateway.remove_route("acme");
    client::eventually(|| refused(&client.get("/api/v1/kv/k"), 401, "invalid_token"));
}

/// Whether it is that problem by now.
fn refused(answer: &client::Answer, status: u16, word: &str) -> Option<()> {
    (answer.status == status && code(answer).1 == word).then_some(())
}
