//! The route Secret in the gateway's namespace: all that the gateway needs to serve the tenant.

use k8s_openapi::{ByteString, api::core::v1::Secret, jiff::Timestamp};
use keystead_route::{
    Audit, Auth, Endpoint, FORMAT, Hibernation, ROUTE_LABEL, Redis, Route, SECRET_KEY, SECRET_TYPE, Tls,
    secret_name,
};

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    settings::Settings,
    tenant::{
        credentials::Credentials,
        rollout::restart,
        sleep,
        validate::{ValidTenant, WorkerImage},
    },
};

pub(super) fn build(
    tenant: &ValidTenant,
    settings: &Settings,
    credentials: &Credentials,
    endpoint: &Endpoint,
    ca: Option<&str>,
    restarts_until: Option<Timestamp>,
) -> Object {
    let route = Route {
        format: FORMAT,
        tenant: tenant.name.clone(),
        suspended: tenant.suspended,
        redis: Redis {
            endpoint: endpoint.clone(),
            username: Some("gateway".into()),
            password: Some(credentials.gateway_password.clone()),
            durability: tenant.redis.durability,
            reads: tenant.redis.reads,
            restarts: restarts_until.is_some(),
            tls: ca.map(|ca| Tls { ca: ca.to_owned() }),
        },
        limits: tenant.limits.clone(),
        auth: Auth {
            sign_up: tenant.auth.sign_up,
            access_token_ttl_seconds: tenant.auth.access_token_ttl.as_secs(),
            refresh_token_ttl_seconds: tenant.auth.refresh_token_ttl.as_secs(),
            keys: credentials.keys.clone(),
            active_key: credentials.active_key.clone(),
            admin_key_sha256: Some(credentials.admin_key_sha256.clone()),
            issuers: tenant.auth.issuers.clone(),
        },
        cache: tenant.cache.clone(),
        audit: tenant.audit.as_ref().map(|audit| Audit { max_entries: audit.max_entries }),
        encryption: credentials.encryption.clone(),
        own_worker: matches!(tenant.worker.image, WorkerImage::Own(_)),
        webhooks: tenant.worker.webhooks.clone(),
        hibernation: tenant.sleep.as_ref().map(|sleep| Hibernation { asleep: sleep.is_told() }),
    };
    let mut metadata = owned(tenant, &settings.gateway_namespace, &secret_name(&tenant.name), None);
    metadata.labels.get_or_insert_default().insert(ROUTE_LABEL.into(), "true".into());
    if let Some(sleep) = &tenant.sleep {
        // Texts and numbers: this cannot fail.
        let text = serde_json::to_string(sleep).unwrap_or_default();
        metadata.annotations.get_or_insert_default().insert(sleep::ANNOTATION.into(), text);
    }
    if let Some(until) = restarts_until {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(restart::ANNOTATION.into(), until.to_string());
    }
    let secret = Secret {
        metadata,
        type_: Some(SECRET_TYPE.into()),
        data: Some([(SECRET_KEY.to_owned(), ByteString(route.to_json().into_bytes()))].into()),
        ..Secret::default()
    };
    object(Kind::Secret, &secret)
}
