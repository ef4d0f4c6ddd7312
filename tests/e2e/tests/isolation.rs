//! One tenant can never see, reach or guess another's: two Tenants at once, every credential, every path, every pod.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{collections::BTreeMap, time::Duration};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use keystead_e2e::{Gateway, Tenant, User, apply, eventually, get_json, kubectl, kubectl_ok, within};
use serde_json::{Value, json};

#[test]
fn a_key_is_never_visible_with_the_other_tenants_credentials() {
    let (north, south) = (Tenant::ready("north", &json!({})), Tenant::ready("south", &json!({})));
    let gateway = Gateway::installed();
    // The same user name in both: what tells them apart must not be the name.
    let (in_north, in_south) = (north.register(&gateway, "sam"), south.register(&gateway, "sam"));
    let written = gateway.put("/api/v1/kv/secret", &in_north.access_token, &json!("of north"));
    assert_eq!(written.status, 201, "{written:?}");

    let own = gateway.get("/t/north/api/v1/kv/secret", &in_north.access_token);
    assert_eq!((own.status, &own.body["value"]), (200, &json!("of north")), "{own:?}");
    for suffix in ["kv/secret", "kv/secret/exists", "kv/secret/ttl", "kv", "jobs"] {
        let other = gateway.get(&format!("/t/north/api/v1/{suffix}"), &in_south.access_token);
        assert_eq!((other.status, &other.body["code"]), (403, &json!("wrong_tenant")), "{suffix}: {other:?}");
    }
    for path in ["/api/v1/kv/secret", "/t/south/api/v1/kv/secret"] {
        let other = gateway.get(path, &in_south.access_token);
        assert_eq!(other.status, 404, "{path}: {other:?}");
    }
    let list = gateway.get("/api/v1/kv", &in_south.access_token);
    assert_eq!((list.status, &list.body["total"]), (200, &json!(0)), "{list:?}");

    // A token of south that says it is of north: the signature is south's.
    let forged = claim_tenant(&in_south, "north");
    for path in ["/api/v1/kv/secret", "/t/north/api/v1/kv/secret", "/t/south/api/v1/kv/secret"] {
        let other = gateway.get(path, &forged);
        assert_eq!(other.status, 401, "{path}: {other:?}");
    }
    // South's password and refresh token are worth nothing in north.
    let login = json!({"username": "sam", "password": in_south.password, "tenant": "north"});
    assert_eq!(gateway.post("/api/v1/auth/login", None, &login).status, 401);
    let refresh = json!({"refresh_token": in_south.refresh_token});
    let refreshed = gateway.post("/t/north/api/v1/auth/refresh", None, &refresh);
    assert!([401, 403].contains(&refreshed.status), "{refreshed:?}");
    let refreshed = gateway.post("/api/v1/auth/refresh", None, &refresh);
    let token = refreshed.body["access_token"].as_str().expect("south's own refresh works").to_owned();
    assert_eq!(gateway.get("/api/v1/kv/secret", &token).status, 404);

    // API keys: the one that each owner finds in the tenant's Secret, and one that is made with it.
    let (owner_of_north, owner_of_south) = (owner_key(&north), owner_key(&south));
    let body = json!({"name": "reader", "scopes": ["kv:read"]});
    let made = gateway.post("/api/v1/auth/api-keys", Some(&owner_of_north), &body);
    assert_eq!(made.status, 201, "{made:?}");
    let (id, reader) = (made.body["id"].as_str().unwrap(), made.body["api_key"].as_str().unwrap());
    for key in [&owner_of_north, reader] {
        // Through both pods of the gateway, in whichever order.
        for _ in 0..6 {
            let own = gateway.get("/t/north/api/v1/kv/secret", key);
            assert_eq!((own.status, &own.body["value"]), (200, &json!("of north")), "{own:?}");
        }
        assert_eq!(gateway.get("/t/south/api/v1/kv/secret", key).status, 403);
    }
    assert_eq!(gateway.get("/t/north/api/v1/kv/secret", &owner_of_south).status, 403);
    assert_eq!(gateway.get("/api/v1/kv/secret", &owner_of_south).status, 404);
    let renamed = owner_of_south.replacen("ks_south_", "ks_north_", 1);
    assert_eq!(gateway.get("/api/v1/kv/secret", &renamed).status, 401);
    let revoked = gateway.call("DELETE", &format!("/api/v1/auth/api-keys/{id}"), Some(&owner_of_north), None);
    assert_eq!(revoked.expect("the gateway answers").status, 204);
    eventually("no pod of the gateway takes the revoked key", || {
        let answers: Vec<u16> = (0..8).map(|_| gateway.get("/api/v1/kv/secret", reader).status).collect();
        if answers.iter().all(|status| *status == 401) { Ok(()) } else { Err(answers) }
    });
}

/// The API key that the operator has made for the tenant's owner.
fn owner_key(tenant: &Tenant) -> String {
    let data = tenant.field("secret", "credentials", "/data/admin-api-key");
    let text = BASE64_STANDARD.decode(data.as_str().expect("an API key")).expect("base64");
    String::from_utf8(text).expect("text")
}

/// The token with its `kid` and `tenant` changed and its signature kept.
fn claim_tenant(user: &User, tenant: &str) -> String {
    let parts: Vec<&str> = user.access_token.split('.').collect();
    let decode = |part: &str| -> Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let (mut header, mut claims) = (decode(parts[0]), decode(parts[1]));
    let kid = header["kid"].as_str().expect("a kid").to_owned();
    let (_, key) = kid.split_once('.').expect("<tenant>.<key>");
    header["kid"] = json!(format!("{tenant}.{key}"));
    claims["tenant"] = json!(tenant);
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", encode(&header), encode(&claims), parts[2])
}

#[test]
fn a_pod_reaches_its_own_redis_and_nothing_else() {
    let (east, west) = (Tenant::ready("east", &json!({})), Tenant::ready("west", &json!({})));
    let redis = |tenant: &Tenant| {
        let service = get_json(&["service", "redis", "-n", &tenant.namespace()]).expect("the Service redis");
        service["spec"]["clusterIP"].as_str().expect("an address").to_owned()
    };
    let (worker, worker_ip) = east.pod("worker");
    let (redis_pod, _) = east.pod("redis");
    let (_, west_worker) = west.pod("worker");
    let (_, west_redis) = west.pod("redis");
    let apiserver = get_json(&["service", "kubernetes", "-n", "default"]).expect("the apiserver's Service");
    let apiserver = apiserver["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let endpoint =
        get_json(&["endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes"])
            .expect("the apiserver's endpoints");
    let endpoint = &endpoint["items"][0];
    let direct = endpoint["endpoints"][0]["addresses"][0].as_str().expect("an address").to_owned();
    let direct_port = endpoint["ports"][0]["port"].as_u64().expect("a port");

    // First what must work: else every refusal below would prove nothing.
    let own = redis(&east);
    within(Duration::from_mins(1), "the worker reaches its own Redis", || {
        if east.opens(&worker, &own, 6379) { Ok(()) } else { Err("refused") }
    });
    let forbidden = [
        ("west's Redis by its Service", redis(&west), 6379),
        ("west's Redis by its pod", west_redis, 6379),
        ("west's worker", west_worker, 9090),
        ("the apiserver's Service", apiserver, 443),
        ("the apiserver itself", direct, direct_port),
    ];
    for (what, address, port) in &forbidden {
        for pod in [&worker, &redis_pod] {
            assert!(!east.opens(pod, address, *port), "{pod} of east opened {what} at {address}:{port}");
        }
    }
    assert!(!east.opens(&redis_pod, &worker_ip, 9090), "Redis opened its own worker: it needs nobody");

    // The gateway reaches both: each answers.
    let gateway = Gateway::installed();
    for tenant in [&east, &west] {
        let user = tenant.register(&gateway, "gwen");
        let written = gateway.put("/api/v1/kv/k", &user.access_token, &json!(1));
        assert_eq!(written.status, 201, "{}: {written:?}", tenant.name);
    }
}

/// A pod in the namespace `default` that does nothing, removed in the end.
struct Idle(&'static str);

impl Idle {
    /// Of this image; by its label `app` a Tenant can name it.
    fn start(name: &'static str, image: &str) -> Self {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "idle", "image": image, "command": ["sleep", "3600"]}],
            },
        });
        let applied = apply(&manifest.to_string());
        assert!(applied.success, "{applied:?}");
        kubectl_ok(&[
            "wait",
            "--for=condition=Ready",
            &format!("pod/{name}"),
            "-n",
            "default",
            "--timeout=120s",
        ]);
        Self(name)
    }

    /// What Redis answers it; it gives up after some seconds.
    fn ask_redis(&self, login: &BTreeMap<String, String>, question: &[&str]) -> String {
        let auth = format!("REDISCLI_AUTH={}", login["password"]);
        let asks = ["exec", "-n", "default", self.0, "--", "env", &auth, "timeout", "5", "redis-cli"];
        let who = ["-h", &login["host"], "-p", &login["port"], "--user", &login["username"]];
        let output = kubectl(&[&asks[..], &who, &["--no-auth-warning"], question].concat(), None);
        format!("{}{}", output.stdout, output.stderr).trim().to_owned()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        kubectl(&["delete", "pod", self.0, "-n", "default", "--ignore-not-found", "--wait=false"], None);
    }
}

#[test]
fn a_peer_that_the_spec_names_reaches_redis_as_a_user_of_its_own_and_others_do_not() {
    let peer = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "podSelector": {"matchLabels": {"app": "named"}},
    });
    let tenant = Tenant::ready("peers", &json!({"network": {"allowFrom": [peer]}}));
    let image = tenant.field("statefulset", "redis", "/spec/template/spec/containers/0/image");
    let image = image.as_str().expect("the image of Redis");
    let (named, other) = (Idle::start("named", image), Idle::start("unnamed", image));
    let told = tenant.field("secret", "redis-app", "/data");
    let text = |value: &Value| {
        let bytes = BASE64_STANDARD.decode(value.as_str().expect("base64")).expect("base64");
        String::from_utf8(bytes).expect("text")
    };
    let login: BTreeMap<String, String> =
        told.as_object().expect("entries").iter().map(|(name, value)| (name.clone(), text(value))).collect();

    within(Duration::from_mins(1), "the named peer logs in", || {
        let answer = named.ask_redis(&login, &["SET", "app:a", "1"]);
        if answer == "OK" { Ok(()) } else { Err(answer) }
    });
    assert_eq!(named.ask_redis(&login, &["GET", "app:a"]), "1");
    for question in [&["GET", "kv:{0}:e:a"][..], &["KEYS", "*"], &["FLUSHALL"], &["CONFIG", "GET", "*"]] {
        let answer = named.ask_redis(&login, question);
        assert!(answer.contains("NOPERM"), "{question:?}: {answer}");
    }
    assert_ne!(other.ask_redis(&login, &["GET", "app:a"]), "1", "one that is not named got in");

    // Nobody is named any more: the Secret goes, and so does the way.
    tenant.patch(&json!({"network": {"allowFrom": []}}));
    eventually("the Secret for clients is gone", || {
        let gone = get_json(&["secret", "redis-app", "-n", &tenant.namespace()]).is_err();
        if gone { Ok(()) } else { Err("it is there") }
    });
    within(Duration::from_mins(1), "the peer gets in no more", || {
        let answer = named.ask_redis(&login, &["GET", "app:a"]);
        if answer == "1" { Err(answer) } else { Ok(()) }
    });
}

#[test]
fn every_pod_is_restricted_and_has_no_token_that_it_does_not_need() {
    let tenant = Tenant::ready("hardened", &json!({}));
    let labels =
        get_json(&["namespace", &tenant.namespace()]).expect("the namespace")["metadata"]["labels"].clone();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted", "{labels}");

    // The apiserver itself judges the pods that run: it warns of each that breaks the level.
    for namespace in [tenant.namespace(), "keystead-system".to_owned()] {
        let label = "pod-security.kubernetes.io/enforce=restricted";
        let judged =
            kubectl(&["label", "--dry-run=server", "--overwrite", "namespace", &namespace, label], None);
        assert!(judged.success && judged.stderr.is_empty(), "{namespace}: {}", judged.stderr);
    }
    let token_of = |namespace: &str| -> BTreeMap<String, bool> {
        let pods = get_json(&["pods", "-n", namespace]).expect("pods");
        let items = pods["items"].as_array().expect("a list");
        let has_token = |pod: &Value| {
            let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
            let projected = |v: &Value| v["projected"]["sources"].as_array().cloned().unwrap_or_default();
            volumes.iter().flat_map(projected).any(|source| source.get("serviceAccountToken").is_some())
        };
        let component = |pod: &Value| {
            pod["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap_or("?").to_owned()
        };
        items.iter().map(|pod| (component(pod), has_token(pod))).collect()
    };
    let expected = |pairs: &[(&str, bool)]| -> BTreeMap<String, bool> {
        pairs.iter().map(|(component, token)| ((*component).to_owned(), *token)).collect()
    };
    assert_eq!(token_of(&tenant.namespace()), expected(&[("redis", false), ("worker", false)]));
    // The operator talks to the apiserver, and the gateway watches its routes there.
    assert_eq!(token_of("keystead-system"), expected(&[("gateway", true), ("operator", true)]));
}

#[test]
fn the_gateway_may_read_its_own_secrets_and_do_what_sign_up_needs_and_nothing_else() {
    let tenant = Tenant::ready("guarded", &json!({}));
    let accounts =
        get_json(&["serviceaccounts", "-n", "keystead-system", "-l", "app.kubernetes.io/component=gateway"])
            .expect("ServiceAccounts");
    let name = accounts["items"][0]["metadata"]["name"].as_str().expect("the gateway's ServiceAccount");
    let user = format!("system:serviceaccount:keystead-system:{name}");
    let may = |verb: &str, resource: &str, namespace: &str| {
        kubectl(&["auth", "can-i", verb, resource, "-n", namespace, "--as", &user], None).success
    };
    assert!(may("watch", "secrets", "keystead-system"));
    // The values of the tests switch sign-up on.
    for (verb, resource) in [
        ("create", "secrets"),
        ("delete", "secrets"),
        ("create", "tenants.keystead.io"),
        ("create", "configmaps"),
    ] {
        assert!(may(verb, resource, "keystead-system"), "the gateway may not {verb} {resource}");
    }
    for (verb, resource, namespace) in [
        ("update", "secrets", "keystead-system"),
        ("patch", "secrets", "keystead-system"),
        ("create", "secrets", "default"),
        ("get", "pods", "keystead-system"),
        ("get", "configmaps", "keystead-system"),
        ("delete", "configmaps", "keystead-system"),
        ("create", "configmaps", &tenant.namespace()),
        ("list", "secrets", &tenant.namespace()),
        ("get", "secrets", "default"),
        ("patch", "tenants.keystead.io", "default"),
        ("delete", "tenants.keystead.io", "default"),
        ("list", "namespaces", "default"),
    ] {
        assert!(!may(verb, resource, namespace), "the gateway may {verb} {resource} in {namespace}");
    }
}
