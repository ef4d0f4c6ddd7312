//! Snapshots of every object, from a fixture whose names are unlike the product's, and what no snapshot shows.

use keystead_route::{DataKey, Encryption};
use serde_json::{Value, json};

use super::*;
use crate::{
    fixtures,
    settings::Tracing,
    tenant::{credentials, validate::validate},
};

fn built(spec: Value) -> Vec<Object> {
    built_with(spec, &fixtures::settings(), &fixtures::credentials())
}

fn built_with(spec: Value, settings: &Settings, credentials: &Credentials) -> Vec<Object> {
    let tenant = validate(&fixtures::tenant(spec), settings, None).unwrap();
    build(&Known {
        tenant: &tenant,
        settings,
        credentials: Some(credentials),
        redis_ip: Some("10.3.2.1"),
        claim_templates: None,
    })
}

/// Everything at its default, and everything given.
fn full() -> Value {
    json!({
        "redis": {
            "image": "registry.test/own:7.4",
            "resources": { "requests": { "cpu": "0.25", "memory": "512Mi" }, "limits": { "cpu": 2, "memory": "1024Mi" } },
            "storage": { "size": "2048Mi", "storageClassName": "quick" },
            "persistence": { "appendOnly": "Always" },
            "evictionPolicy": "VolatileLru",
            "config": { "hz": "20", "notify-keyspace-events": "" },
        },
        "auth": { "signUp": "Open", "accessTokenTtl": "5m", "refreshTokenTtl": "1h", "issuers": [{ "issuer": "https://login.example.com/realms/shop", "audiences": ["shop"] }] },
        "worker": { "replicas": 2, "concurrency": 4, "image": "registry.test/own-worker:1", "schedules": [{ "name": "nightly", "cron": "0 3 * * *", "kind": "kv.export", "payload": { "prefix": "a" } }] },
        "autoscaling": { "workers": { "profile": "Cache", "maxReplicas": 5, "cpuUtilization": 50 } },
        "network": {
            "allowFrom": [{ "namespaceSelector": { "matchLabels": { "team": "till" } } }],
            "allowEgress": [{ "ipBlock": { "cidr": "10.9.0.0/16" }, "ports": [{ "port": 443, "protocol": "TCP" }] }],
        },
    })
}

fn snapshot(name: &str, objects: &[Object]) {
    let bodies: Vec<_> = objects.iter().map(|object| readable(&object.body)).collect();
    insta::assert_yaml_snapshot!(name, bodies);
}

/// What a Secret holds, in plain text: the secrets of the fixture are none.
fn readable(body: &Value) -> Value {
    let mut body = body.clone();
    if body["kind"] == "Secret"
        && let Some(data) = body.get_mut("data")
    {
        *data = json!(credentials::contents(Some(data)));
    }
    body
}

#[test]
fn a_tenant_that_says_nothing() {
    snapshot("minimal", &built(json!({})));
}

#[test]
fn a_tenant_that_says_everything() {
    snapshot("full", &built(full()));
}

#[test]
fn workers_send_traces_where_the_installation_says_and_may_reach_it() {
    let egress = r#"[{"to": [{"namespaceSelector": {}}], "ports": [{"port": 4318, "protocol": "TCP"}]}]"#;
    let tracing =
        Tracing { endpoint: "http://collector:4318".into(), share: 0.5, egress: egress.parse().unwrap() };
    let settings = Settings { tracing: Some(tracing), ..fixtures::settings() };
    let objects = built_with(json!({}), &settings, &fixtures::credentials());
    let find = |kind: Kind| objects.iter().find(|it| it.key.kind == kind && it.key.name == "worker").unwrap();
    let container = &find(Kind::Deployment).body["spec"]["template"]["spec"]["containers"][0];
    let env = |name: &str| container["env"].as_array().unwrap().iter().find(|it| it["name"] == name).cloned();
    assert_eq!(env("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap()["value"], "http://collector:4318");
    assert_eq!(env("OTEL_TRACES_SAMPLER_ARG").unwrap()["value"], "0.5");
    assert_eq!(env("OTEL_RESOURCE_ATTRIBUTES").unwrap()["value"], "keystead.tenant=shop");
    let rules = find(Kind::NetworkPolicy).body["spec"]["egress"].as_array().unwrap();
    assert_eq!(rules.last().unwrap()["ports"], json!([{"port": 4318, "protocol": "TCP"}]));
}

#[test]
fn the_keys_of_values_go_to_gateway_and_worker_and_to_no_other() {
    let data_key = |name: &str| DataKey { name: name.into(), secret: format!("{name}-word").as_str().into() };
    let keys = vec![data_key("encryption-key-1"), data_key("encryption-key-2")];
    let encryption = Some(Encryption { keys, active_key: Some("encryption-key-2".into()) });
    let credentials = Credentials { encryption, ..fixtures::credentials() };
    let spec = json!({ "encryption": { "enabled": true, "keyVersion": 2 } });
    let objects = built_with(spec, &fixtures::settings(), &credentials);
    let told: Vec<String> = objects
        .iter()
        .filter(|it| readable(&it.body).to_string().contains("encryption-key"))
        .map(|it| it.key.to_string())
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let route = objects.iter().find(|it| it.key.name == "route-shop").unwrap();
    insta::assert_yaml_snapshot!("encrypted_route", readable(&route.body)["data"]);
    let worker = objects.iter().find(|it| it.key.kind == Kind::Deployment).unwrap();
    insta::assert_yaml_snapshot!("encrypted_worker", worker.body["spec"]["template"]["spec"]);
}

#[test]
fn a_suspended_tenant_has_its_data_and_no_worker() {
    let objects = built(json!({ "suspend": true }));
    let find = |kind: Kind, name: &str| objects.iter().find(|it| it.key.kind == kind && it.key.name == name);
    assert_eq!(find(Kind::Deployment, "worker").unwrap().body["spec"]["replicas"], json!(0));
    assert_eq!(find(Kind::StatefulSet, "redis").unwrap().body["spec"]["replicas"], json!(1));
    assert!(find(Kind::HorizontalPodAutoscaler, "worker").is_none());
    let route = readable(&find(Kind::Secret, "route-shop").unwrap().body);
    assert!(route["data"]["route.json"].as_str().unwrap().contains("\"suspended\":true"));
}

#[test]
fn an_ephemeral_tenant_has_no_claim_and_writes_nothing() {
    let objects = built(json!({ "redis": { "storage": { "ephemeral": true } } }));
    let set = objects.iter().find(|it| it.key.kind == Kind::StatefulSet).unwrap();
    assert!(set.body["spec"].get("volumeClaimTemplates").is_none());
    let config = objects.iter().find(|it| it.key.kind == Kind::ConfigMap).unwrap();
    let text = config.body["data"]["redis.conf"].as_str().unwrap();
    assert!(text.contains("appendonly no\nsave \"\"\n"), "{text}");
}

#[test]
fn what_must_outlive_the_tenant_has_no_owner_and_the_rest_has_one() {
    for object in built(full()) {
        let owned = object.body["metadata"].get("ownerReferences").is_some();
        assert_ne!(owned, object.key.kind.is_kept(&object.key.name), "{object:?}");
    }
}

#[test]
fn nothing_has_a_token_and_every_pod_is_restricted() {
    for object in built(full()) {
        let Some(pod) = object.body.pointer("/spec/template/spec") else { continue };
        assert_eq!(pod["automountServiceAccountToken"], json!(false));
        assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], json!("RuntimeDefault"));
        for container in pod["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], json!(false));
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true));
        }
    }
}

#[test]
fn a_change_that_redis_reads_at_its_start_replaces_its_pod() {
    let of = |spec: Value| {
        let objects = built(spec);
        let set = objects.into_iter().find(|it| it.key.kind == Kind::StatefulSet).unwrap();
        set.body["spec"]["template"]["metadata"]["annotations"].clone()
    };
    assert_ne!(of(json!({})), of(json!({ "redis": { "config": { "hz": "20" } } })));
    assert_eq!(of(json!({})), of(json!({ "worker": { "concurrency": 3 } })));
}

#[test]
fn the_template_of_a_claim_stays_as_it_was_made() {
    let settings = fixtures::settings();
    let tenant = fixtures::tenant(json!({ "redis": { "storage": { "size": "5Gi" } } }));
    let tenant = validate(&tenant, &settings, None).unwrap();
    let credentials = fixtures::credentials();
    let existing = json!([{
        "metadata": { "name": "data", "creationTimestamp": null, "labels": { "old": "label" } },
        "spec": { "resources": { "requests": { "storage": "1Gi" } }, "volumeMode": "Filesystem" },
        "status": { "phase": "Pending" },
    }]);
    let objects = build(&Known {
        tenant: &tenant,
        settings: &settings,
        credentials: Some(&credentials),
        redis_ip: None,
        claim_templates: Some(&existing),
    });
    let set = objects.iter().find(|it| it.key.kind == Kind::StatefulSet).unwrap();
    let template = &set.body["spec"]["volumeClaimTemplates"][0];
    assert_eq!(template["spec"], existing[0]["spec"]);
    assert_eq!(template["metadata"]["labels"], existing[0]["metadata"]["labels"]);
    assert_eq!(wanted_claim(&tenant).unwrap().1, "5Gi");
}

#[test]
fn without_an_address_there_is_no_route_and_no_worker() {
    let settings = fixtures::settings();
    let tenant = validate(&fixtures::tenant(json!({})), &settings, None).unwrap();
    let objects = build(&Known {
        tenant: &tenant,
        settings: &settings,
        credentials: None,
        redis_ip: None,
        claim_templates: None,
    });
    assert!(!objects.iter().any(|it| matches!(it.key.kind, Kind::StatefulSet | Kind::Deployment)));
    assert!(!objects.iter().any(|it| it.key.namespace == settings.gateway_namespace));
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    assert_eq!(redis_address("fd00::1"), "[fd00::1]:6379");
}

#[test]
fn the_users_may_do_what_the_store_sends() {
    assert_eq!(secret::GATEWAY_RULES, keystead_kv::acl::GATEWAY);
    assert_eq!(secret::WORKER_RULES, keystead_kv::acl::WORKER);
    assert_eq!(secret::MONITOR_RULES, keystead_kv::acl::MONITOR);
}

#[test]
fn a_printed_object_shows_no_secret() {
    let printed = format!("{:?}", built(json!({})));
    assert!(printed.contains("Secret front/route-shop"), "{printed}");
    assert!(!printed.contains("gateway-word") && !printed.contains("data"), "{printed}");
}
