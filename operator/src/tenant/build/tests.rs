//! Snapshots of every object, from a fixture whose names are unlike the product's, and what no snapshot shows.

mod app;
mod scaling;
mod shards;
mod sleep;

use keystead_route::{DataKey, Encryption};
use serde_json::{Value, json};

use super::*;
use crate::{
    fixtures,
    settings::Tracing,
    tenant::{
        credentials,
        validate::{Arrangement, validate},
    },
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
        addresses: &addresses(&tenant),
        readers_ip: Some("10.3.2.9"),
        redis_sets: &[],
        tls: Some("certificate of the authority\n"),
        restarts_until: None,
    })
}

fn addresses(tenant: &ValidTenant) -> Vec<(String, String)> {
    let address = |(number, name): (usize, String)| (name, format!("10.3.2.{}", number + 1));
    services(tenant).into_iter().enumerate().map(address).collect()
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
        "audit": { "enabled": true, "maxEntries": 5000, "lokiUrl": "http://loki.test:3100" },
        "worker": { "replicas": 2, "concurrency": 4, "image": "registry.test/own-worker:1", "schedules": [{ "name": "nightly", "cron": "0 3 * * *", "kind": "kv.export", "payload": { "prefix": "a" } }], "webhooks": [{ "host": "*.example.com" }, { "host": "hooks.example.org" }, { "host": "till", "allowHttp": true, "addresses": ["10.9.3.0/16"] }] },
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
fn a_replicated_tenant() {
    let spec = json!({
        "redis": { "topology": "Replicated", "durability": "Replicated" },
        "autoscaling": { "readers": {} },
    });
    let of_redis =
        |object: &Object| object.key.kind != Kind::ServiceAccount && object.key.kind != Kind::Namespace;
    let objects: Vec<Object> = built(spec).into_iter().filter(of_redis).collect();
    snapshot("replicated", &objects);
}

#[test]
fn a_tenant_with_tls() {
    let spec = json!({
        "redis": { "topology": "Replicated", "tls": { "enabled": true } },
        "autoscaling": { "readers": {} },
    });
    let objects = built(spec);
    let conf = objects.iter().find(|it| it.key.kind == Kind::ConfigMap).unwrap();
    let conf = conf.body["data"]["redis.conf"].as_str().unwrap();
    assert!(conf.contains(TLS_CONF) && !conf.contains("\nport 6379"), "{conf}");
    let runs = |kind: Kind| matches!(kind, Kind::StatefulSet | Kind::Deployment | Kind::Secret);
    let objects: Vec<Object> = objects.into_iter().filter(|it| runs(it.key.kind)).collect();
    snapshot("tls", &objects);
}

#[test]
fn a_cluster_with_tls_has_its_certificate_and_what_distributes_the_data_only_knows_whom_to_trust() {
    let spec = json!({ "redis": { "topology": "Cluster", "tls": { "enabled": true } } });
    let objects = built(spec.clone());
    let body = |kind: Kind, name: &str| {
        &objects.iter().find(|it| it.key.kind == kind && it.key.name == name).unwrap().body
    };
    let config = &body(Kind::ConfigMap, "redis-config")["data"];
    assert!(config["redis.conf"].as_str().unwrap().contains(TLS_CONF) && config["tls.sh"].is_string());
    let mounted = |pod: &Value| {
        let volumes = pod["volumes"].as_array().unwrap();
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|it| it["mountPath"] == "/etc/keystead/tls"));
        volumes.iter().find(|it| it["name"] == "tls").unwrap()["secret"].clone()
    };
    let member = mounted(&body(Kind::StatefulSet, "redis-shard-0")["spec"]["template"]["spec"]);
    assert_eq!(member["secretName"], "redis-tls");
    assert!(member["items"].is_null());
    let tenant = validate(&fixtures::tenant(spec), &fixtures::settings(), None).unwrap();
    let job = mounted(&reshape(&tenant).unwrap().body["spec"]["template"]["spec"]);
    assert_eq!(job["items"], json!([{ "key": "ca.crt", "path": "ca.crt" }]));
}

#[test]
fn no_pod_has_the_key_of_the_authority_and_one_of_somebody_else_needs_no_secret() {
    let spec = |tls: Value| json!({ "redis": { "tls": tls } });
    let has = |objects: &[Object], name: &str| objects.iter().any(|it| it.key.name == name);
    let own = built(spec(json!({ "enabled": true })));
    assert!(has(&own, "redis-ca") && has(&own, "redis-tls"));
    let told = own.iter().filter(|it| it.key.name != "redis-ca" && it.body.to_string().contains("redis-ca"));
    assert_eq!(told.count(), 0);
    let others = built(spec(json!({ "enabled": true, "issuerSecretRef": "company-ca" })));
    assert!(!has(&others, "redis-ca") && has(&others, "redis-tls"));
}

#[test]
fn a_cluster_tenant() {
    let spec = json!({ "redis": { "topology": "Cluster", "replicasPerShard": 0 } });
    let of_redis =
        |object: &Object| object.key.kind != Kind::ServiceAccount && object.key.kind != Kind::Namespace;
    let objects: Vec<Object> = built(spec.clone()).into_iter().filter(of_redis).collect();
    snapshot("cluster", &objects);
    let tenant = validate(&fixtures::tenant(spec), &fixtures::settings(), None).unwrap();
    snapshot("reshape", &[reshape(&tenant).unwrap()]);
}

/// A Cluster tenant of so many wanted shards beside these.
fn cluster_tenant(wanted: u8, leaving: &[u8]) -> ValidTenant {
    let spec = json!({ "redis": { "topology": "Cluster", "shards": wanted } });
    let mut tenant = validate(&fixtures::tenant(spec), &fixtures::settings(), None).unwrap();
    if let Arrangement::Cluster(shards) = &mut tenant.redis.arrangement {
        shards.leaving = leaving.to_vec();
    }
    tenant
}

fn build_all(tenant: &ValidTenant) -> Vec<Object> {
    build(&Known {
        tenant,
        settings: &fixtures::settings(),
        credentials: Some(&fixtures::credentials()),
        addresses: &addresses(tenant),
        readers_ip: None,
        redis_sets: &[],
        tls: None,
        restarts_until: None,
    })
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
fn what_webhooks_are_signed_with_goes_only_to_a_worker_that_sends_any() {
    let volumes = |spec: Value| {
        let objects = built(spec);
        let worker = objects.iter().find(|it| it.key.kind == Kind::Deployment).unwrap();
        let template = &worker.body["spec"]["template"];
        let volumes = template["spec"]["volumes"].as_array().unwrap().clone();
        let hash = template["metadata"]["annotations"][names::CONFIG_ANNOTATION].clone();
        assert!(!objects.iter().any(|it| readable(&it.body).to_string().contains("whsec_word")));
        (volumes.into_iter().find(|it| it["name"] == "webhook-secrets"), hash)
    };
    let (without, hash) = volumes(json!({}));
    assert_eq!(without, None);
    let (with, hash_with) = volumes(json!({ "worker": { "webhooks": [{ "host": "a.example" }] } }));
    assert_eq!(
        with.unwrap()["secret"]["items"],
        json!([{ "key": "webhook-secret", "path": "webhook-secret" }])
    );
    assert_ne!(hash, hash_with, "another secret replaces the pods");
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
    let replicated = json!({ "redis": { "topology": "Replicated" }, "autoscaling": { "readers": {} } });
    let tenant = cluster_tenant(3, &[]);
    let cluster = build_all(&tenant).into_iter().chain(reshape(&tenant));
    for object in built(full()).into_iter().chain(built(replicated)).chain(cluster) {
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
    assert_ne!(of(json!({})), of(json!({ "redis": { "config": { "io-threads": "2" } } })));
    for taken_live in [
        json!({ "worker": { "concurrency": 3 } }),
        json!({ "redis": { "config": { "hz": "20" }, "evictionPolicy": "VolatileLru" } }),
        json!({ "redis": { "persistence": { "appendOnly": "Always" } } }),
    ] {
        assert_eq!(of(json!({})), of(taken_live));
    }
}

#[test]
fn what_cannot_be_changed_of_a_stateful_set_stays_as_it_was_made() {
    let settings = fixtures::settings();
    let tenant = fixtures::tenant(json!({ "redis": { "storage": { "size": "5Gi" } } }));
    let tenant = validate(&tenant, &settings, None).unwrap();
    let credentials = fixtures::credentials();
    let existing = json!({ "podManagementPolicy": "OrderedReady", "volumeClaimTemplates": [{
        "metadata": { "name": "data", "creationTimestamp": null, "labels": { "old": "label" } },
        "spec": { "resources": { "requests": { "storage": "1Gi" } }, "volumeMode": "Filesystem" },
        "status": { "phase": "Pending" },
    }] });
    let objects = build(&Known {
        tenant: &tenant,
        settings: &settings,
        credentials: Some(&credentials),
        addresses: &addresses(&tenant),
        readers_ip: Some("10.3.2.9"),
        redis_sets: &[(names::REDIS, &existing)],
        tls: None,
        restarts_until: None,
    });
    let set = objects.iter().find(|it| it.key.kind == Kind::StatefulSet).unwrap();
    let template = &set.body["spec"]["volumeClaimTemplates"][0];
    let before = &existing["volumeClaimTemplates"][0];
    assert_eq!(template["spec"], before["spec"]);
    assert_eq!(template["metadata"]["labels"], before["metadata"]["labels"]);
    assert_eq!(set.body["spec"]["podManagementPolicy"], "OrderedReady", "it cannot be changed either");
    assert_eq!(wanted_claims(&tenant)[0].1, "5Gi");
}

#[test]
fn without_an_address_there_is_no_route_and_no_worker() {
    let settings = fixtures::settings();
    let tenant = validate(&fixtures::tenant(json!({})), &settings, None).unwrap();
    let objects = build(&Known {
        tenant: &tenant,
        settings: &settings,
        credentials: None,
        addresses: &[],
        readers_ip: Some("10.3.2.9"),
        redis_sets: &[],
        tls: None,
        restarts_until: None,
    });
    assert!(!objects.iter().any(|it| matches!(it.key.kind, Kind::StatefulSet | Kind::Deployment)));
    assert!(!objects.iter().any(|it| it.key.namespace == settings.gateway_namespace));
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    assert_eq!(address("fd00::1", names::REDIS_PORT), "[fd00::1]:6379");
}

#[test]
fn the_users_may_do_what_the_store_sends() {
    assert_eq!(secret::GATEWAY_RULES, keystead_kv::acl::GATEWAY);
    assert_eq!(secret::WORKER_RULES, keystead_kv::acl::WORKER);
    assert_eq!(secret::MONITOR_RULES, keystead_kv::acl::MONITOR);
    assert_eq!(secret::SLEEP_RULES, keystead_kv::acl::SLEEP);
    assert_eq!(secret::FSYNC_RULES, keystead_kv::acl::FSYNC);
    assert_eq!(replicated::CLIENT_OF_SENTINEL, keystead_kv::acl::SENTINEL_CLIENT);
    assert_eq!(cluster::CLIENT_OF_CLUSTER, keystead_kv::acl::CLUSTER);
    assert_eq!(secret::APP_RULES, keystead_kv::acl::APP);
    assert_eq!(cluster::APP_OF_CLUSTER, keystead_kv::acl::APP_CLUSTER);
    assert_eq!(replicated::APP_OF_SENTINEL, keystead_kv::acl::APP_SENTINEL);
}

#[test]
fn who_waits_for_the_disk_may_ask_for_it_where_redis_knows_the_word() {
    let users = |spec: Value| {
        let objects = built(spec);
        let secret = objects.iter().find(|it| it.key.name == "redis-users").unwrap();
        readable(&secret.body)["data"]["users.acl"].as_str().unwrap().matches("+waitaof").count()
    };
    assert_eq!(users(json!({ "redis": { "version": "7.0" } })), 0);
    assert_eq!(users(json!({ "redis": { "image": "registry.test/own:stable" } })), 0);
    assert_eq!(users(json!({ "redis": { "version": "7.2" } })), 2);
    let own = json!({ "redis": { "image": "registry.test/own:stable", "durability": "Fsync" } });
    assert_eq!(users(own), 2);
}

#[test]
fn a_printed_object_shows_no_secret() {
    let printed = format!("{:?}", built(json!({})));
    assert!(printed.contains("Secret front/route-shop"), "{printed}");
    assert!(!printed.contains("gateway-word") && !printed.contains("data"), "{printed}");
}
