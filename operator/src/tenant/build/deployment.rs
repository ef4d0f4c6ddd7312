//! The Deployment of the tenant's worker. Where an autoscaler counts its pods, it says nothing of their number.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::{Container, ContainerPort, HTTPGetAction, PodSpec, PodTemplateSpec, Probe},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use keystead_route::{Durability, Endpoint, Limits};

use super::{Object, hash, object, owned, pod, tls};
use crate::{
    kinds::Kind,
    settings::Settings,
    tenant::{
        credentials::{Credentials, WORKER_PASSWORD},
        names,
        validate::{Replicas, ValidTenant, WorkerImage},
    },
};

const PASSWORD: &str = "password";
const PASSWORD_FOLDER: &str = "/etc/keystead/credentials";
const WEBHOOK_SECRETS: &str = "webhook-secrets";
const WEBHOOK_SECRETS_FOLDER: &str = "/etc/keystead/webhook-secrets";
const ENCRYPTION_KEYS: &str = "encryption-keys";
const ENCRYPTION_KEYS_FOLDER: &str = "/etc/keystead/encryption-keys";

pub(super) fn build(
    tenant: &ValidTenant,
    settings: &Settings,
    credentials: &Credentials,
    endpoint: &Endpoint,
    ca: Option<&str>,
) -> Object {
    let namespace = names::namespace(&tenant.name);
    let mut config = vec![credentials.worker_password.expose().as_bytes()];
    let mut volumes = vec![pod::password(PASSWORD, WORKER_PASSWORD)];
    if let Some(encryption) = &credentials.encryption {
        config.extend(encryption.keys.iter().map(|key| key.secret.expose().as_bytes()));
        let files: Vec<&str> = encryption.keys.iter().map(|key| key.name.as_str()).collect();
        volumes.push(pod::credentials(ENCRYPTION_KEYS, files.into_iter().map(|file| (file, file))));
    }
    if !tenant.worker.webhooks.is_empty() {
        config.extend(credentials.webhook_secrets.values().map(|secret| secret.expose().as_bytes()));
        let files = credentials.webhook_secrets.keys().map(|file| (*file, *file));
        volumes.push(pod::credentials(WEBHOOK_SECRETS, files));
    }
    if let Some(ca) = ca {
        config.push(ca.as_bytes());
        volumes.push(tls::trusted());
    }
    let config = hash(config);
    let deployment = Deployment {
        metadata: owned(tenant, &namespace, names::WORKER, Some(names::WORKER)),
        spec: Some(DeploymentSpec {
            replicas: match tenant.worker.replicas {
                Replicas::Fixed(replicas) => Some(replicas),
                Replicas::Scaled(_) => None,
            },
            revision_history_limit: Some(3),
            selector: LabelSelector {
                match_labels: Some(names::selector(&tenant.name, names::WORKER)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names::labels(&tenant.name, Some(names::WORKER))),
                    annotations: Some([(names::CONFIG_ANNOTATION.into(), config)].into()),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![container(tenant, settings, credentials, endpoint)],
                    volumes: Some(volumes),
                    ..pod::spec(names::WORKER)
                }),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    };
    object(Kind::Deployment, &deployment)
}

/// How the worker is told where Redis is.
fn reach(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    match endpoint {
        Endpoint::Standalone { address } => vec![("KEYSTEAD_REDIS_ADDRESS", address.clone())],
        Endpoint::Replicated { primary_name, sentinels, members, .. } => vec![
            ("KEYSTEAD_REDIS_PRIMARY_NAME", primary_name.clone()),
            ("KEYSTEAD_REDIS_SENTINELS", sentinels.join(",")),
            ("KEYSTEAD_REDIS_MEMBERS", members.join(",")),
        ],
        Endpoint::Cluster { shards } => {
            let shards: Vec<String> = shards.iter().map(|members| members.join(",")).collect();
            vec![("KEYSTEAD_REDIS_SHARDS", shards.join(";"))]
        }
    }
}

fn container(
    tenant: &ValidTenant,
    settings: &Settings,
    credentials: &Credentials,
    endpoint: &Endpoint,
) -> Container {
    let probe = |path: &str, period: i32, failures: i32| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(names::WORKER_PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    let (image, ours) = match &tenant.worker.image {
        WorkerImage::Ours(image) => (image, true),
        WorkerImage::Own(image) => (image, false),
    };
    let mut env = vec![
        pod::env("KEYSTEAD_TENANT", tenant.name.as_str()),
        pod::env("KEYSTEAD_REDIS_USERNAME", "worker"),
        pod::env("KEYSTEAD_REDIS_PASSWORD_FILE", format!("{PASSWORD_FOLDER}/password")),
        pod::env("KEYSTEAD_CONCURRENCY", tenant.worker.concurrency.to_string()),
        pod::env("KEYSTEAD_LISTEN", format!("0.0.0.0:{}", names::WORKER_PORT)),
    ];
    env.extend(reach(endpoint).into_iter().map(|(name, value)| pod::env(name, value)));
    if tenant.redis.durability != Durability::Async {
        env.push(pod::env("KEYSTEAD_REDIS_DURABILITY", format!("{:?}", tenant.redis.durability)));
    }
    // Rates are the gateway's: another one is no reason to replace the worker.
    let limits = Limits {
        requests_per_second: None,
        burst: None,
        user_requests_per_second: None,
        user_burst: None,
        ..tenant.limits.clone()
    };
    if limits != Limits::default() {
        // Numbers: this cannot fail.
        env.push(pod::env("KEYSTEAD_LIMITS", serde_json::to_string(&limits).unwrap_or_default()));
    }
    if !tenant.worker.schedules.is_empty() {
        // Strings and JSON: this cannot fail.
        let schedules = serde_json::to_string(&tenant.worker.schedules).unwrap_or_default();
        env.push(pod::env("KEYSTEAD_SCHEDULES", schedules));
    }
    if tenant.idle_after.is_some() {
        env.push(pod::env("KEYSTEAD_MAY_SLEEP", "true"));
    }
    if let Some(url) = tenant.audit.as_ref().and_then(|audit| audit.loki_url.as_ref()) {
        env.push(pod::env("KEYSTEAD_LOKI_URL", url));
    }
    if let Some(tracing) = &settings.tracing {
        env.push(pod::env("OTEL_EXPORTER_OTLP_ENDPOINT", &tracing.endpoint));
        env.push(pod::env("OTEL_TRACES_SAMPLER_ARG", tracing.share.to_string()));
        env.push(pod::env("OTEL_RESOURCE_ATTRIBUTES", format!("keystead.tenant={}", tenant.name)));
    }
    let mut mounts = vec![pod::mount(PASSWORD, PASSWORD_FOLDER, true)];
    if tenant.redis.tls.is_some() {
        mounts.push(tls::mount());
        env.push(pod::env("KEYSTEAD_REDIS_CA_FILE", tls::trusted_file()));
    }
    if !tenant.worker.webhooks.is_empty() {
        mounts.push(pod::mount(WEBHOOK_SECRETS, WEBHOOK_SECRETS_FOLDER, true));
        env.push(pod::env("KEYSTEAD_WEBHOOK_SECRETS", WEBHOOK_SECRETS_FOLDER));
        // Strings and numbers: this cannot fail.
        let webhooks = serde_json::to_string(&tenant.worker.webhooks).unwrap_or_default();
        env.push(pod::env("KEYSTEAD_WEBHOOKS", webhooks));
    }
    if let Some(encryption) = &credentials.encryption {
        mounts.push(pod::mount(ENCRYPTION_KEYS, ENCRYPTION_KEYS_FOLDER, true));
        env.push(pod::env("KEYSTEAD_ENCRYPTION_KEYS", ENCRYPTION_KEYS_FOLDER));
        if let Some(active) = &encryption.active_key {
            env.push(pod::env("KEYSTEAD_ENCRYPTION_KEY", active));
        }
    }
    Container {
        name: names::WORKER.into(),
        image: Some(image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        command: ours.then(|| vec!["/usr/local/bin/keystead-worker".into()]),
        env: Some(env),
        ports: Some(vec![ContainerPort {
            name: Some("metrics".into()),
            container_port: names::WORKER_PORT,
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        resources: Some(pod::resources(&tenant.worker.resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(mounts),
        // A worker of the tenant's own need not serve them.
        readiness_probe: ours.then(|| probe("/health/ready", 1, 3)),
        liveness_probe: ours.then(|| probe("/health/live", 10, 6)),
        ..Container::default()
    }
}
