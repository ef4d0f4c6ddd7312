//! Bad input: each with its status, its code and a message that says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use client::{Answer, Client, code, eventually, owned, start, start_with};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use keystead_route::SigningKey;
use keystead_tests::{
    gateway::{ED25519, HS256, route},
    redis::Server,
};
use serde_json::{Value, json};

/// Status, code and detail of a problem.
fn told(answer: &Answer) -> (u16, String, String) {
    let (status, code) = code(answer);
    (status, code, answer.json()["detail"].as_str().unwrap().to_owned())
}

fn expect(answer: &Answer, status: u16, code: &str, detail: &str) {
    assert_eq!(told(answer), (status, code.to_owned(), detail.to_owned()));
}

const INVALID: &str = "the token is expired, malformed or not signed by its tenant: log in again";

fn claims(tenant: &str, expires_in: i64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    json!({
        "iss": "keystead", "sub": "mallory", "tenant": tenant, "scope": "kv:read kv:write",
        "iat": now, "exp": now + expires_in, "jti": "1",
    })
}

fn sign(algorithm: Algorithm, kid: &str, claims: &Value, key: &EncodingKey) -> String {
    let mut header = Header::new(algorithm);
    header.kid = Some(kid.into());
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

#[test]
fn no_token_but_the_tenants_own_is_taken() {
    let (acme_redis, other_redis) = (Server::start(), Server::start());
    let acme = route("acme", &acme_redis.address());
    let mut other = route("other", &other_redis.address());
    other.auth.keys = vec![SigningKey {
        id: "k1".into(),
        algorithm: keystead_route::Algorithm::HS256,
        secret: HS256.into(),
    }];
    let gateway = start_with(&[acme, other]);
    let client = Client::registered(&gateway, "acme");
    assert_eq!(client.put("/api/v1/kv/secret", &json!({"value": "of acme"})).status, 201);

    let acme_key = EncodingKey::from_ed_pem(ED25519.as_bytes()).unwrap();
    let other_secret = BASE64_STANDARD.decode(HS256).unwrap();
    let other_key = EncodingKey::from_secret(&other_secret);
    // First that the test's own signatures are right: else every refusal would prove nothing.
    let good = sign(Algorithm::EdDSA, "acme.k1", &claims("acme", 60), &acme_key);
    assert_eq!(Client::with_token(&gateway, &good).get("/api/v1/kv/secret").status, 200);
    let other_token = sign(Algorithm::HS256, "other.k1", &claims("other", 60), &other_key);
    assert_eq!(Client::with_token(&gateway, &other_token).get("/api/v1/kv/secret").status, 404);

    let unsigned = |header: Value, claims: &Value| {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", encode(&header), encode(claims))
    };
    // What a verifier would accept that let the token choose: the public key as an HMAC secret.
    let public_key = {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
        let body: String = ED25519.lines().filter(|line| !line.starts_with('-')).collect();
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(&BASE64_STANDARD.decode(body).unwrap()).unwrap();
        pair.public_key().as_ref().to_vec()
    };
    let (head, tail) = good.split_at(good.len() - 10);
    let flipped = tail.chars().rev().collect::<String>();
    let forged = [
        ("alg none", unsigned(json!({"alg": "none", "kid": "acme.k1"}), &claims("acme", 60))),
        ("alg None", unsigned(json!({"alg": "None", "kid": "acme.k1"}), &claims("acme", 60))),
        (
            "swapped",
            sign(Algorithm::HS256, "acme.k1", &claims("acme", 60), &EncodingKey::from_secret(&public_key)),
        ),
        (
            "swapped, PEM",
            sign(
                Algorithm::HS256,
                "acme.k1",
                &claims("acme", 60),
                &EncodingKey::from_secret(ED25519.as_bytes()),
            ),
        ),
        ("expired", sign(Algorithm::EdDSA, "acme.k1", &claims("acme", -1), &acme_key)),
        ("other's key, acme's kid", sign(Algorithm::HS256, "acme.k1", &claims("acme", 60), &other_key)),
        ("other's kid, acme's claim", sign(Algorithm::HS256, "other.k1", &claims("acme", 60), &other_key)),
        ("acme's key, other's claim", sign(Algorithm::EdDSA, "acme.k1", &claims("other", 60), &acme_key)),
        ("unknown key", sign(Algorithm::EdDSA, "acme.k9", &claims("acme", 60), &acme_key)),
        ("unknown tenant", sign(Algorithm::EdDSA, "nobody.k1", &claims("nobody", 60), &acme_key)),
        (
            "no kid",
            jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims("acme", 60), &acme_key).unwrap(),
        ),
        ("bent signature", format!("{head}{flipped}")),
        ("rubbish", "rubbish".to_owned()),
        ("dots", "..".to_owned()),
        ("long", "x".repeat(5000)),
    ];
    for (what, token) in &forged {
        for path in ["/api/v1/kv/secret", "/t/acme/api/v1/kv/secret", "/t/other/api/v1/kv/secret"] {
            let answer = Client::with_token(&gateway, token).get(path);
            assert_eq!(told(&answer), (401, "invalid_token".into(), INVALID.into()), "{what} at {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    let missing = "send the header `Authorization: Bearer <access token>` or `X-API-Key: <API key>`";
    expect(&Client::anonymous(&gateway).get("/api/v1/kv/secret"), 401, "missing_token", missing);
    let basic =
        Client::anonymous(&gateway).raw("GET", "/api/v1/kv/secret", &[("Authorization", "Basic eDp5")], b"");
    expect(&basic, 401, "missing_token", missing);
    for path in ["kv/secret", "kv/secret/exists", "kv/secret/ttl", "kv", "kv/stats/count", "auth/me"] {
        let answer = client.get(&format!("/t/other/api/v1/{path}"));
        expect(&answer, 403, "wrong_tenant", "the path names another tenant than the credential");
    }
    let expiring = sign(Algorithm::EdDSA, "acme.k1", &claims("acme", 8), &acme_key);
    let expiring = Client::with_token(&gateway, &expiring);
    assert_eq!(expiring.get("/api/v1/kv/secret").status, 200);
    // Also once it is cached.
    eventually(|| (expiring.get("/api/v1/kv/secret").status == 401).then_some(()));
}

#[test]
fn a_token_does_what_its_scopes_say() {
    let (_redis, gateway) = start(&["acme"]);
    let key = EncodingKey::from_ed_pem(ED25519.as_bytes()).unwrap();
    let mut readonly = claims("acme", 60);
    readonly["scope"] = json!("kv:read");
    let client = Client::with_token(&gateway, &sign(Algorithm::EdDSA, "acme.k1", &readonly, &key));
    assert_eq!(client.get("/api/v1/kv").status, 200);
    let detail = "the credential needs the scope kv:write";
    expect(&client.put("/api/v1/kv/k", &json!({"value": 1})), 403, "missing_scope", detail);
    expect(&client.post("/api/v1/kv", &json!({"key": "k", "value": 1})), 403, "missing_scope", detail);
    expect(&client.delete("/api/v1/kv/k"), 403, "missing_scope", detail);
}

#[test]
fn bodies_and_keys_are_refused_with_what_to_do() {
    let redis = Server::start();
    let mut route = route("acme", &redis.address());
    route.limits.max_value_bytes = 1000;
    let gateway = start_with(&[route]);
    let client = Client::registered(&gateway, "acme");
    let json = [("Content-Type", "application/json")];
    let put = |body: &str| client.raw("PUT", "/api/v1/kv/k", &json, body.as_bytes());

    let long = "k".repeat(257);
    let too_long = "the key has 257 bytes: this tenant's keys have at most 256";
    expect(&client.get(&format!("/api/v1/kv/{long}")), 422, "invalid", too_long);
    expect(&client.post("/api/v1/kv", &json!({"key": long, "value": 1})), 422, "invalid", too_long);
    // 256 bytes are counted, not characters: 128 of two bytes are as many as fit.
    assert_eq!(client.put(&format!("/api/v1/kv/{}", "%C3%BC".repeat(128)), &json!({"value": 1})).status, 201);
    expect(
        &client.post("/api/v1/kv", &json!({"key": "", "value": 1})),
        422,
        "invalid",
        "the key is empty: a key has 1 to 256 bytes",
    );
    expect(
        &client.put("/api/v1/kv/k", &json!({"value": "x".repeat(999)})),
        413,
        "too_large",
        "the value has 1001 bytes: this tenant's values have at most 1000",
    );
    assert_eq!(client.put("/api/v1/kv/k", &json!({"value": "x".repeat(998)})).status, 201);
    let large = "x".repeat(70_000);
    expect(&put(&large), 413, "too_large", "the body has more than 66536 bytes");
    expect(
        &put("{\"value\":"),
        400,
        "bad_request",
        "the body is not as expected: EOF while parsing a value at line 1 column 9",
    );
    expect(
        &put("{\"value\":1,\"color\":2}"),
        422,
        "invalid",
        "the body is not as expected: unknown field `color`, expected one of `key`, `value`, `ttl`, `tags` at line 1 column 18",
    );
    expect(
        &put("{}"),
        422,
        "invalid",
        "the body is not as expected: missing field `value` at line 1 column 2",
    );
    let bytes = [0xff, 0xfe];
    assert_eq!(code(&client.raw("PUT", "/api/v1/kv/k", &json, &bytes)).0, 400);
    for ttl in ["-1", "1.5", "\"60\""] {
        assert_eq!(code(&put(&format!("{{\"value\":1,\"ttl\":{ttl}}}"))), (422, "invalid".into()), "{ttl}");
    }
    expect(
        &put("{\"value\":1,\"ttl\":315360001}"),
        422,
        "invalid",
        "the time to live is 315360001 s: it is at most 315360000 s (ten years); 0 or null never expires",
    );
    let many: serde_json::Map<String, Value> = (0..33).map(|n| (n.to_string(), json!(""))).collect();
    expect(
        &client.put("/api/v1/kv/k", &json!({"value": 1, "tags": many})),
        422,
        "invalid",
        "there are 33 tags: an entry has at most 32",
    );
    expect(
        &client.raw("POST", "/api/v1/kv", &[("Content-Type", "text/plain")], b"{}"),
        415,
        "wrong_content_type",
        "send the body as JSON with `Content-Type: application/json`",
    );
    expect(
        &client.raw("PUT", "/api/v1/kv/k", &[], b"{}"),
        415,
        "wrong_content_type",
        "send a `Content-Type`: application/json, or that of the raw bytes",
    );
    let raw = [("Content-Type", "text/plain"), ("X-TTL", "soon")];
    expect(
        &client.raw("PUT", "/api/v1/kv/k", &raw, b"x"),
        422,
        "invalid",
        "X-TTL: a whole number of seconds; 0 never expires",
    );
    assert_eq!(code(&client.raw("GET", "/api/v1/kv/%FF", &[], b"")), (400, "bad_request".into()));
    assert_eq!(code(&client.get("/api/v2/kv")), (404, "route_unknown".into()));
    let patch = client.raw("PATCH", "/api/v1/kv", &json, b"{}");
    assert_eq!(code(&patch), (405, "method_not_allowed".into()));
    assert!(patch.header("allow").contains("POST"), "{patch:?}");
}

#[test]
fn parameters_that_nobody_reads_are_refused() {
    let redis = Server::start();
    let mut route = route("acme", &redis.address());
    let admin = owned(&mut route);
    let gateway = start_with(&[route]);
    let client = Client::with_api_key(&gateway, &admin);
    client.put("/api/v1/kv/k", &json!({"value": 1}));
    let json = [("Content-Type", "application/json")];
    let detail = "the query has no parameter \"ttl\": this request takes none, leave it out";
    for (method, path) in [
        ("PUT", "kv/k"),
        ("PATCH", "kv/k"),
        ("DELETE", "kv/k"),
        ("PUT", "kv/batch"),
        ("GET", "kv/k/exists"),
        ("GET", "kv/k/ttl"),
        ("PUT", "kv/k/ttl"),
        ("POST", "kv/k/incr"),
        ("POST", "kv"),
        ("POST", "kv/batch"),
        ("GET", "kv/stats/count"),
        ("GET", "diag"),
        ("GET", "peers"),
        ("POST", "jobs"),
        ("POST", "jobs/inputs"),
        ("GET", "jobs/1"),
        ("DELETE", "jobs/1"),
        ("GET", "jobs/1/result"),
        ("POST", "jobs/1/retry"),
        ("GET", "jobs/schedules"),
        ("PUT", "jobs/schedules/s"),
        ("POST", "auth/register"),
        ("POST", "auth/login"),
        ("POST", "auth/refresh"),
        ("POST", "auth/logout"),
        ("GET", "auth/me"),
        ("GET", "auth/api-keys"),
    ] {
        let body: &[u8] = if method == "GET" || method == "DELETE" { b"" } else { b"{\"value\":2}" };
        for base in ["/api/v1", "/t/acme/api/v1"] {
            let answer = client.raw(method, &format!("{base}/{path}?ttl=0"), &json, body);
            assert_eq!(told(&answer), (422, "invalid".into(), detail.into()), "{method} {path}");
        }
    }
    assert_eq!(client.get("/api/v1/kv/k").json()["value"], 1, "nothing was done");
    assert_eq!(client.get("/api/v1/kv/k/exists?").status, 200, "an empty query says nothing");
    // Probes may say what they like.
    for path in ["/health", "/api/v1/health/ready", "/t/acme/health"] {
        assert_eq!(client.get(&format!("{path}?from=balancer")).status, 200, "{path}");
    }
    let unknown = Client::with_token(&gateway, "rubbish").get("/api/v1/kv/k/ttl?ttl=0");
    assert_eq!(code(&unknown), (401, "invalid_token".into()), "who calls is asked first");

    let twice = |name: &str| format!("the query has the parameter \"{name}\" twice: send it once");
    for (path, name) in [
        ("kv?prefix=a&prefix=b", "prefix"),
        ("kv?limit=1&limit=1", "limit"),
        ("kv?page=1&page=2", "page"),
        ("kv?page_size=1&page_size=2", "page_size"),
        ("kv?cursor=aw&cursor=aw", "cursor"),
        ("kv?values=true&values=false", "values"),
        ("kv?consistency=replica&consistency=replica", "consistency"),
        ("kv/k?consistency=primary&consistency=replica", "consistency"),
        ("watch?prefix=a&prefix=b", "prefix"),
    ] {
        expect(&client.get(&format!("/api/v1/{path}")), 422, "invalid", &twice(name));
    }
    expect(
        &client.get("/api/v1/kv?page_size=1&limit=2"),
        422,
        "invalid",
        "`page_size` and `limit` are the same: send one of them",
    );
    let wrong = client.get("/api/v1/kv?consistency=quorum");
    expect(&wrong, 422, "invalid", "consistency: `primary` or `replica`");
    for consistency in ["primary", "replica"] {
        let list = client.get(&format!("/api/v1/kv?consistency={consistency}"));
        assert_eq!((list.status, &list.json()["total"]), (200, &json!(1)), "{consistency}");
    }
    for path in ["jobs?page=1&page=1", "jobs?prefix=a", "audit?limit=1&limit=1", "audit?page=1"] {
        assert_eq!(code(&client.get(&format!("/api/v1/{path}"))), (422, "invalid".into()), "{path}");
    }
    assert_eq!(client.get("/api/v1/kv?tag_filter=a:1&tag_filter=b:2").json()["total"], 0);
}

#[test]
fn registrations_are_refused_with_what_to_do() {
    let (_redis, gateway) = start(&["acme"]);
    let nobody = Client::anonymous(&gateway);
    let register = |change: Value| {
        let mut body = json!({"tenant": "acme", "username": "ada", "email": "ada@example.com", "password": "Correct-horse-7"});
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        nobody.post("/api/v1/auth/register", &body)
    };
    let rules = "a password has at least 8 characters with an upper-case and a lower-case letter and a digit, and at most 256 bytes";
    for weak in ["", "Aa1", "correct-horse-7", "CORRECT-HORSE-7", "Correct-horse"] {
        expect(&register(json!({"password": weak})), 422, "weak_password", rules);
    }
    let name = "username: 1 to 64 letters, digits, '.', '_', '@' and '-'";
    for wrong in ["", "a b", "ü", &"a".repeat(65)] {
        expect(&register(json!({"username": wrong})), 422, "invalid", name);
    }
    for wrong in ["", "ada", "@example.com", "ada@", "a@b@c", "a b@c"] {
        expect(
            &register(json!({"email": wrong})),
            422,
            "invalid",
            "email: an address such as name@example.com",
        );
    }
    expect(
        &register(json!({"tenant": "nobody"})),
        404,
        "tenant_unknown",
        "no tenant of this name is served here",
    );
    expect(
        &register(json!({"tenant": null})),
        422,
        "invalid",
        "no tenant is named: send the field `tenant` or use /t/<tenant>/api/v1; this installation makes no new tenants",
    );
    assert_eq!(code(&register(json!({"is_admin": true}))), (422, "invalid".into()));
}
