//! Which tokens are taken, where, and for whom.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use keystead_tests::redis::Server;
use serde_json::{Value, json};

use crate::{
    client::{Client, code, eventually},
    is_taken,
    process::{Authority, CONFIGURATION, Issuer, KEYS, Key, now},
    read, start, trusting, with,
};

#[test]
fn tokens_of_a_trusted_issuer_are_taken_with_any_of_its_algorithms_and_both_forms_of_scopes() {
    let (redis, authority) = (Server::start(), Authority::new());
    let keys = [Key::rs256("r"), Key::es256("e"), Key::eddsa("d")];
    let mut issuer = Issuer::start(&authority, &keys.each_ref());
    let mut other_claim = trusting("globex", &redis, &[(&issuer.url, "keystead")]);
    other_claim.auth.issuers[0].scopes_claim = "permissions".into();
    let gateway =
        start(&[trusting("acme", &redis, &[(&issuer.url, "keystead")]), other_claim], &authority, &[]);
    for key in &keys {
        let token = key.sign(&issuer.claims());
        let client = Client::with_token(&gateway, &token);
        let path = format!("/t/acme/api/v1/kv/{}", key.kid);
        assert_eq!(client.put(&path, &json!({"value": 1})).status, 201);
        assert_eq!(client.get(&path).json()["value"], json!(1));
        let refused = client.post("/t/acme/api/v1/jobs", &json!({"kind": "kv.export"}));
        assert_eq!(code(&refused), (403, "missing_scope".into()));

        let list = with(issuer.claims(), "permissions", json!(["kv:read", "everything"]));
        let list = Client::with_token(&gateway, &key.sign(&list));
        assert_eq!(code(&list.get("/t/globex/api/v1/kv/nothing")), (404, "key_not_found".into()));
        let refused = list.put("/t/globex/api/v1/kv/k", &json!({"value": 1}));
        assert_eq!(code(&refused), (403, "missing_scope".into()));
        // The same token holds for each tenant by what that one trusts.
        assert_eq!(client.get(&path).status, 200);
        assert_eq!(code(&client.get("/t/globex/api/v1/kv/nothing")), (403, "missing_scope".into()));
    }
    assert_eq!(
        (issuer.asked(CONFIGURATION), issuer.asked(KEYS)),
        (1, 1),
        "both tenants share what was fetched"
    );
}

#[test]
fn an_external_user_is_told_who_it_is_and_has_no_session_here() {
    let (redis, authority, key) = (Server::start(), Authority::new(), Key::es256("e"));
    let issuer = Issuer::start(&authority, &[&key]);
    let gateway = start(&[trusting("acme", &redis, &[(&issuer.url, "keystead")])], &authority, &[]);
    let client = Client::with_token(&gateway, &key.sign(&issuer.claims()));
    let mut expected = json!({"username": "ada-1", "email": null, "tenant_id": "acme", "is_active": true,
        "scopes": ["kv:read", "kv:write", "jobs:read"], "issuer": issuer.url});
    assert_eq!(client.get("/t/acme/api/v1/auth/me").json(), expected);
    let claims = with(issuer.claims(), "email", json!("ada@example.com"));
    expected["email"] = json!("ada@example.com");
    let named = Client::with_token(&gateway, &key.sign(&claims));
    assert_eq!(named.get("/t/acme/api/v1/auth/me").json(), expected);

    let answer = client.post("/t/acme/api/v1/auth/logout", &json!({}));
    assert_eq!(code(&answer), (422, "invalid".into()));
    assert!(answer.text().contains("log out there"), "{}", answer.text());

    // Another user of that issuer has other requests, though the key of the request is the same.
    let other = Client::with_token(&gateway, &key.sign(&with(issuer.claims(), "sub", json!("grace-2"))));
    for (client, value) in [(&client, 1), (&client, 1), (&other, 2)] {
        let answer = client.raw("POST", "/t/acme/api/v1/kv/n/incr", &[("Idempotency-Key", "one")], b"");
        assert_eq!(answer.json()["value"], json!(value), "{}", answer.text());
    }
}

#[test]
fn each_user_of_another_issuer_has_a_rate() {
    let (redis, authority, key) = (Server::start(), Authority::new(), Key::es256("e"));
    let issuer = Issuer::start(&authority, &[&key]);
    let mut route = trusting("acme", &redis, &[(&issuer.url, "keystead")]);
    (route.limits.user_requests_per_second, route.limits.user_burst) = (Some(1), Some(3));
    let gateway = start(&[route], &authority, &[]);
    let token = |subject: &str| key.sign(&with(issuer.claims(), "sub", json!(subject)));
    let [ada, grace] = ["ada-1", "grace-2"].map(token);
    let refused = eventually(|| Some(read(&gateway, "acme", &ada)).filter(|answer| answer.status == 429));
    assert_eq!(code(&refused), (429, "rate_limited".into()));
    let other = read(&gateway, "acme", &grace);
    assert_eq!((other.status, other.header("ratelimit").as_str()), (404, r#""user";r=2;t=1"#));
}

#[test]
fn a_token_is_taken_only_where_the_path_names_a_tenant_that_trusts_its_issuer_for_it() {
    let (redis, authority, key) = (Server::start(), Authority::new(), Key::eddsa("d"));
    let issuer = Issuer::start(&authority, &[&key]);
    let routes = [
        trusting("acme", &redis, &[(&issuer.url, "keystead")]),
        trusting("globex", &redis, &[(&issuer.url, "globex")]),
        trusting("initech", &redis, &[]),
    ];
    let gateway = start(&routes, &authority, &[]);
    let token = key.sign(&issuer.claims());
    // Before the token is known and after.
    for _ in 0..2 {
        let nowhere = Client::with_token(&gateway, &token).get("/api/v1/kv/nothing");
        assert_eq!(code(&nowhere), (401, "invalid_token".into()));
        assert!(nowhere.text().contains("use /t/<tenant>/api/v1"), "{}", nowhere.text());
        let refusals =
            ["globex", "initech", "nobody"].map(|tenant| read(&gateway, tenant, &token).without_id());
        assert_eq!(refusals[0]["code"], json!("invalid_token"));
        assert!(
            refusals.iter().all(|refusal| *refusal == refusals[0]),
            "they tell tenants apart: {refusals:?}"
        );
        assert!(is_taken(&gateway, "acme", &token));
    }

    // The tenant lets go of the issuer: known tokens too are refused, and taken again when it is back.
    gateway.set_route(&trusting("acme", &redis, &[]));
    eventually(|| (!is_taken(&gateway, "acme", &token)).then_some(()));
    gateway.set_route(&routes[0]);
    eventually(|| is_taken(&gateway, "acme", &token).then_some(()));
}

#[test]
fn a_forged_or_unfit_token_is_refused() {
    let (redis, authority) = (Server::start(), Authority::new());
    let keys = [Key::rs256("r"), Key::eddsa("d"), Key::es256("e")];
    let [rsa, ed, ec] = &keys;
    let stranger = Key::rs256("r");
    let (mut encrypting, mut symmetric) =
        (Key::es256("enc"), json!({"kty": "oct", "kid": "oct", "alg": "HS256"}));
    encrypting.jwk["use"] = json!("enc");
    let secret = [7; 32];
    symmetric["k"] = json!(BASE64_URL_SAFE_NO_PAD.encode(secret));
    let mut issuer = Issuer::start(&authority, &[]);
    let mut published: Vec<Value> = keys.iter().map(|key| key.jwk.clone()).collect();
    published.extend([encrypting.jwk.clone(), symmetric]);
    issuer.publish(&published);
    let route = trusting("acme", &redis, &[(&issuer.url, "keystead")]);
    let gateway = start(&[route], &authority, &["--issuer-refresh", "1"]);
    let claims = issuer.claims();
    let hs256 = |kid: &str, secret: &[u8]| {
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", part(json!({"alg": "none", "kid": "r"})), part(claims.clone()));
    let changed = |name: &str, value: Value| rsa.sign(&with(claims.clone(), name, value));
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        rsa.sign(&claims)
    };
    let critical = {
        let header =
            Header { kid: Some("d".into()), crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &ed.private).unwrap()
    };
    for (what, token) in [
        ("another audience", changed("aud", json!(["elsewhere"]))),
        ("another issuer", changed("iss", json!("https://127.0.0.1:1"))),
        ("the issuer with a slash", changed("iss", json!(format!("{}/", issuer.url)))),
        ("expired", changed("exp", json!(now() - 40))),
        ("not yet valid", changed("nbf", json!(now() + 60))),
        ("no subject", changed("sub", json!(""))),
        ("a long subject", changed("sub", json!("a".repeat(257)))),
        ("a subject for the log", changed("sub", json!("ada\nroot"))),
        ("without exp", without("exp")),
        ("without aud", without("aud")),
        ("without sub", without("sub")),
        ("without iss", without("iss")),
        ("alg none", none),
        ("HS256 with the public key", hs256("r", &rsa.public)),
        ("HS256 with the public key's bytes", hs256("d", &ed.public)),
        ("a symmetric key that is published", hs256("oct", &secret)),
        ("a key for encryption", encrypting.sign(&claims)),
        ("another's key of the same name", stranger.sign(&claims)),
        ("another algorithm than the key's", ec.sign_as(Some("r"), &claims)),
        ("no kid where there are several keys", rsa.sign_as(None, &claims)),
        ("an unknown kid", rsa.sign_as(Some("x"), &claims)),
        ("a critical header", critical),
        ("cut off", rsa.sign(&claims).rsplit_once('.').unwrap().0.to_owned()),
    ] {
        assert!(!is_taken(&gateway, "acme", &token), "{what}");
    }
    // What differs only in what is allowed.
    for (what, token) in [
        ("as it should be", rsa.sign(&claims)),
        ("one of several audiences", changed("aud", json!(["elsewhere", "keystead"]))),
        ("a clock that is behind", changed("exp", json!(now() - 10))),
        ("a clock that is ahead", changed("nbf", json!(now() + 10))),
    ] {
        assert!(is_taken(&gateway, "acme", &token), "{what}");
    }
    let weak = Client::with_token(&gateway, &changed("scope", json!("admins kv:*")));
    assert_eq!(code(&weak.get("/t/acme/api/v1/kv/nothing")), (403, "missing_scope".into()));

    // The only usable key needs no name. The keys are fetched anew while they are used.
    issuer.publish(&[rsa.jwk.clone(), encrypting.jwk.clone()]);
    eventually(|| is_taken(&gateway, "acme", &rsa.sign_as(None, &claims)).then_some(()));
}

#[test]
fn a_watch_ends_with_its_token_and_with_the_tenants_trust() {
    let (redis, authority, key) = (Server::start(), Authority::new(), Key::es256("e"));
    let issuer = Issuer::start(&authority, &[&key]);
    let trusted = trusting("acme", &redis, &[(&issuer.url, "keystead")]);
    let gateway = start(std::slice::from_ref(&trusted), &authority, &[]);
    // Taken for a moment still, as far as clocks may differ. The answer is whole only when the stream has ended.
    let short = with(issuer.claims(), "exp", json!(now() - 20));
    let stream = Client::with_token(&gateway, &key.sign(&short)).get("/t/acme/api/v1/watch");
    assert_eq!(stream.status, 200, "{}", stream.text());

    let token = key.sign(&issuer.claims());
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| Client::with_token(&gateway, &token).get("/t/acme/api/v1/watch"));
        let diag = Client::with_token(&gateway, &key.sign(&with(issuer.claims(), "scope", json!("admin"))));
        eventually(|| {
            (diag.get("/t/acme/api/v1/diag").json()["gateway"]["watchers"] == json!(1)).then_some(())
        });
        gateway.set_route(&trusting("acme", &redis, &[]));
        assert_eq!(watching.join().unwrap().status, 200);
    });
}
