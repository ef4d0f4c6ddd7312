//! A tenant for tests, with names unlike the product's, so that swapped ones are seen.

use std::time::Duration;

use keystead_crds::Tenant;
use keystead_route::{Algorithm, SigningKey};
use serde_json::{Value, json};

use crate::{settings::Settings, tenant::credentials::Credentials};

pub(crate) fn tenant(spec: Value) -> Tenant {
    let mut tenant: Tenant = serde_json::from_value(json!({
        "apiVersion": "keystead.io/v1alpha1",
        "kind": "Tenant",
        "metadata": { "name": "shop", "uid": "0d6a1f9e", "generation": 3 },
        "spec": {},
    }))
    .unwrap();
    tenant.spec = serde_json::from_value(spec).unwrap();
    tenant
}

pub(crate) fn settings() -> Settings {
    Settings {
        gateway_namespace: "front".into(),
        worker_image: "registry.test/jobs:5".into(),
        redis_images: "7.0=registry.test/redis:7.0,7.2=registry.test/redis:7.2".parse().unwrap(),
        default_redis_version: "7.2".into(),
        tracing: None,
        password_overlap: Duration::from_mins(5),
        usage_interval: Duration::from_secs(30),
        queue_metric: false,
        max_concurrent_rollouts: 10,
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials {
        gateway_password: "gateway-word".into(),
        worker_password: "worker-word".into(),
        monitor_password: "monitor-word".into(),
        members: ["keeper", "replication", "sentinel", "cluster", "app"]
            .map(|user| (user, format!("{user}-word").as_str().into()))
            .into(),
        others: [("worker-password".to_owned(), vec!["worker-word-to-come".into()])].into(),
        next: [("worker".to_owned(), "worker-word-to-come".into())].into(),
        keys: vec![SigningKey {
            id: "k1".into(),
            algorithm: Algorithm::EdDSA,
            secret: "signing-word".into(),
        }],
        active_key: "k1".into(),
        admin_key_sha256: "ad31".into(),
        encryption: None,
        webhook_secrets: [("webhook-secret", "whsec_word".into())].into(),
    }
}
