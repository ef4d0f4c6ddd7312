//! API keys on real gateways and a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::{Answer, Client, calls, code, eventually, owned, start, start_with};
use keystead_route::{ADMIN_KEY_ID, Route, SignUp};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};

fn start_owned() -> (Server, Route, Gateway, Client) {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    let admin = owned(&mut route);
    let gateway = start_with(std::slice::from_ref(&route));
    let admin = Client::with_api_key(&gateway, &admin);
    (server, route, gateway, admin)
}

fn make(admin: &Client, body: &Value) -> (String, String) {
    let made = admin.post("/api/v1/auth/api-keys", body);
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    (made["id"].as_str().unwrap().to_owned(), made["api_key"].as_str().unwrap().to_owned())
}

fn status(answer: &Answer) -> u16 {
    answer.status
}

#[test]
fn a_key_does_what_its_scopes_say_and_shows_its_secret_once() {
    let (redis, _, gateway, admin) = start_owned();
    let (id, text) = make(&admin, &json!({"name": "reader", "scopes": ["kv:read"]}));
    assert!(text.starts_with(&format!("ks_acme_{id}_")), "{text}");
    admin.put("/api/v1/kv/k", &json!({"value": 1}));

    let reader = Client::with_api_key(&gateway, &text);
    for path in ["/api/v1/kv/k", "/t/acme/api/v1/kv/k"] {
        assert_eq!(reader.get(path).json()["value"], json!(1));
    }
    // Where a library knows only of bearer tokens.
    assert_eq!(Client::with_token(&gateway, &text).get("/api/v1/kv/k").status, 200);
    assert_eq!(code(&reader.put("/api/v1/kv/k", &json!({"value": 2}))), (403, "missing_scope".into()));
    assert_eq!(code(&reader.get("/api/v1/auth/api-keys")), (403, "missing_scope".into()));
    assert_eq!(code(&reader.get("/api/v1/jobs")), (403, "missing_scope".into()));
    let me = reader.get("/api/v1/auth/me").json();
    assert_eq!(me["scopes"], json!(["kv:read"]));

    let listed = admin.get("/api/v1/auth/api-keys");
    assert_eq!(listed.json()["items"][0]["created_by"], json!("api-key:admin"));
    let secret = text.rsplit('_').next().unwrap();
    assert!(!listed.text().contains(secret), "{}", listed.text());
    assert!(!redis.cli(&["HVALS", "auth:{a}:keys"]).contains(secret), "only its hash may be kept");
}

#[test]
fn a_revoked_key_is_refused_by_every_gateway() {
    let (redis, route, one, admin) = start_owned();
    let other = start_with(std::slice::from_ref(&route));
    let (id, text) = make(&admin, &json!({"name": "short-lived", "scopes": ["kv:read"]}));
    let clients = [&one, &other].map(|gateway| Client::with_api_key(gateway, &text));
    for client in &clients {
        assert_eq!(client.get("/api/v1/kv/stats/count").status, 200);
    }
    // Known by now, and so not asked for again.
    let asked = || calls(&redis, "hget");
    let before = asked();
    for client in &clients {
        assert_eq!(client.get("/api/v1/kv/stats/count").status, 200);
    }
    assert_eq!(asked(), before, "a key that is known is not read again");

    assert_eq!(admin.delete(&format!("/api/v1/auth/api-keys/{id}")).status, 204);
    assert_eq!(
        code(&clients[0].get("/api/v1/kv/stats/count")),
        (401, "invalid_token".into()),
        "at once where it was revoked"
    );
    // And where it was not, as soon as Redis has told of it.
    eventually(|| (clients[1].get("/api/v1/kv/stats/count").status == 401).then_some(()));
    assert_eq!(
        code(&admin.delete(&format!("/api/v1/auth/api-keys/{id}"))),
        (404, "api_key_not_found".into())
    );
}

#[test]
fn both_secrets_hold_while_a_key_is_rotated() {
    let (_redis, _, gateway, admin) = start_owned();
    let (id, first) = make(&admin, &json!({"name": "rotated", "scopes": ["kv:read"]}));
    let rotate = |overlap: u64| {
        let path = format!("/api/v1/auth/api-keys/{id}/rotate");
        let answer = admin.post(&path, &json!({"overlap_seconds": overlap}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["api_key"].as_str().unwrap().to_owned()
    };
    let works = |text: &str| Client::with_api_key(&gateway, text).get("/api/v1/kv/stats/count").status == 200;
    let second = rotate(60);
    assert!(works(&first) && works(&second));
    let third = rotate(0);
    assert!(!works(&first) && !works(&second) && works(&third));
    let fourth = rotate(1);
    assert!(works(&fourth));
    eventually(|| (!works(&third)).then_some(()));
    assert!(works(&fourth));
}

#[test]
fn a_key_for_some_prefixes_touches_no_other_key() {
    let (_redis, _, gateway, admin) = start_owned();
    let body = json!({"name": "team", "scopes": ["kv:read", "kv:write"], "prefixes": ["team/", "public/"]});
    let team = Client::with_api_key(&gateway, &make(&admin, &body).1);
    admin.put("/api/v1/kv/secret", &json!({"value": 1}));

    assert_eq!(team.put("/api/v1/kv/team%2Fa", &json!({"value": 1})).status, 201);
    assert_eq!(team.get("/api/v1/kv?prefix=team/").json()["total"], json!(1));
    let forbidden = (403, "key_forbidden".to_owned());
    for answer in [
        team.get("/api/v1/kv/secret"),
        team.get("/api/v1/kv/secret/ttl"),
        team.get("/api/v1/kv/secret/exists"),
        team.delete("/api/v1/kv/secret"),
        team.put("/api/v1/kv/secret", &json!({"value": 2})),
        team.put("/api/v1/kv/team", &json!({"value": 2})),
        team.post("/api/v1/kv", &json!({"key": "secret2", "value": 2})),
        team.post("/api/v1/kv/secret/incr", &json!({})),
        team.get("/api/v1/kv"),
        team.get("/api/v1/kv?prefix=t"),
        team.get("/api/v1/kv/stats/count"),
    ] {
        assert_eq!(code(&answer), forbidden, "{answer:?}");
    }
    let items = json!({"items": [{"key": "team/b", "value": 1}, {"op": "get", "key": "secret"}]});
    let batch = team.post("/api/v1/kv/batch", &items).json();
    assert_eq!((&batch["items"][0]["status"], &batch["items"][1]["status"]), (&json!(201), &json!(403)));
    assert!(!batch.to_string().contains("\"value\":1,\"metadata\""), "{batch}");
}

#[test]
fn a_key_has_a_rate_of_its_own() {
    let (_redis, _, gateway, admin) = start_owned();
    let body = json!({"name": "slow", "scopes": ["kv:read"], "requests_per_second": 2});
    let slow = Client::with_api_key(&gateway, &make(&admin, &body).1);
    let answers: Vec<Answer> = (0..5).map(|_| slow.get("/api/v1/kv/stats/count")).collect();
    assert_eq!(answers[0].header("ratelimit-policy"), "\"api-key\";q=2;w=1");
    let refused = answers.iter().find(|answer| answer.status == 429).expect("five at once are too many");
    assert_eq!((code(refused).1.as_str(), refused.header("retry-after").as_str()), ("rate_limited", "1"));
    assert_eq!(admin.get("/api/v1/kv/stats/count").status, 200, "others are not slowed");
}

#[test]
fn what_is_no_key_of_the_tenant_is_refused() {
    let servers = [Server::start(), Server::start()];
    let mut acme = route("acme", &servers[0].address());
    let admin = owned(&mut acme);
    let globex = route("globex", &servers[1].address());
    let gateway = start_with(&[acme, globex]);
    let admin = Client::with_api_key(&gateway, &admin);
    let (_, text) = make(&admin, &json!({"name": "k", "scopes": ["kv:read"]}));

    let invalid = (401, "invalid_token".to_owned());
    let flipped = format!("{}{}", &text[..text.len() - 1], if text.ends_with('0') { '1' } else { '0' });
    let renamed = text.replacen("acme", "globex", 1);
    let other_id = text.replacen(text.split('_').nth(2).unwrap(), "0123456789abcdef", 1);
    let unknown_tenant = text.replacen("acme", "nobody", 1);
    let forged_admin = format!("ks_acme_{ADMIN_KEY_ID}_{}", "0".repeat(64));
    let admin_elsewhere = format!("ks_globex_{ADMIN_KEY_ID}_{}", "07".repeat(32));
    for wrong in [&flipped, &renamed, &other_id, &unknown_tenant, &forged_admin, &admin_elsewhere, "ks_x"] {
        let client = Client::with_api_key(&gateway, wrong);
        assert_eq!(code(&client.get("/api/v1/kv/stats/count")), invalid, "{wrong}");
    }
    let client = Client::with_api_key(&gateway, &text);
    assert_eq!(code(&client.get("/t/globex/api/v1/kv/k")), (403, "wrong_tenant".into()));

    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    let body = json!({"name": "brief", "scopes": ["kv:read"], "expires_at": soon.to_string()});
    let brief = Client::with_api_key(&gateway, &make(&admin, &body).1);
    assert_eq!(brief.get("/api/v1/kv/stats/count").status, 200);
    eventually(|| (brief.get("/api/v1/kv/stats/count").status == 401).then_some(()));
}

#[test]
fn a_key_that_cannot_be_is_refused_with_what_to_do() {
    let (_redis, _, _gateway, admin) = start_owned();
    for (body, hint) in [
        (json!({"name": "", "scopes": ["kv:read"]}), "name: 1 to 64 bytes"),
        (json!({"name": "k", "scopes": []}), "scopes: at least one of kv:read"),
        (json!({"name": "k", "scopes": ["kv:raed"]}), "there is no \"kv:raed\"; choose from kv:read"),
        (json!({"name": "k", "scopes": ["kv:read"], "expires_at": "2020-01-01T00:00:00Z"}), "a time to come"),
        (json!({"name": "k", "scopes": ["kv:read"], "requests_per_second": 0}), "1 to 1000000"),
        (json!({"name": "k", "scopes": ["kv:read"], "prefixes": [""]}), "each of 1 to 256 bytes"),
        (json!({"name": "k", "scopes": ["admin"], "prefixes": ["a"]}), "leave the other scopes out"),
        (json!({"name": "k", "scopes": ["kv:read"], "colour": 1}), "unknown field `colour`"),
    ] {
        let answer = admin.post("/api/v1/auth/api-keys", &body);
        assert_eq!(code(&answer), (422, "invalid".into()), "{body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(hint), "{detail}");
    }
    let rotated = admin.post("/api/v1/auth/api-keys/nobody/rotate", &json!({}));
    assert_eq!(code(&rotated), (404, "api_key_not_found".into()));
}

#[test]
fn an_admin_makes_accounts_where_sign_up_is_closed() {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    let admin = owned(&mut route);
    route.auth.sign_up = SignUp::Closed;
    let gateway = start_with(&[route]);
    let admin = Client::with_api_key(&gateway, &admin);
    let body = |name: &str, scopes: Option<Value>| {
        let mut body =
            json!({"username": name, "email": format!("{name}@example.com"), "password": "Correct-horse-7"});
        if let Some(scopes) = scopes {
            body["scopes"] = scopes;
        }
        body
    };
    let anonymous = Client::anonymous(&gateway);
    let refused = anonymous.post("/t/acme/api/v1/auth/register", &body("eve", None));
    assert_eq!(code(&refused), (403, "sign_up_closed".into()));

    let owner = admin.post("/api/v1/auth/register", &body("owner", Some(json!(["admin", "kv:read"]))));
    assert_eq!(status(&owner), 201, "{}", owner.text());
    let owner = Client::with_token(&gateway, owner.json()["access_token"].as_str().unwrap());
    assert_eq!(owner.get("/api/v1/auth/me").json()["scopes"], json!(["kv:read", "admin"]));

    let ada = owner.post("/api/v1/auth/register", &body("ada", None));
    assert_eq!(status(&ada), 201, "{}", ada.text());
    let ada = Client::with_token(&gateway, ada.json()["access_token"].as_str().unwrap());
    assert_eq!(code(&ada.post("/api/v1/auth/register", &body("mallory", None))).1, "sign_up_closed");
}

#[test]
fn nobody_gives_himself_scopes() {
    let (_redis, gateway) = start(&["acme"]);
    let body = json!({"tenant": "acme", "username": "eve", "email": "e@example.com", "password": "Correct-horse-7",
        "scopes": ["admin"]});
    let answer = Client::anonymous(&gateway).post("/api/v1/auth/register", &body);
    assert_eq!(code(&answer), (403, "missing_scope".into()));
}
