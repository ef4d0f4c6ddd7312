//! The route Secret in the gateway's namespace: all that the gateway needs to serve the tenant.

use k8s_openapi::{ByteString, api::core::v1::Secret};
use keystead_route::{
    Auth, Endpoint, FORMAT, ROUTE_LABEL, Redis, Route, SECRET_KEY, SECRET_TYPE, secret_name,
};

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    settings::Settings,
    tenant::{credentials::Credentials, validate::ValidTenant},
};

pub(super) fn build(
    tenant: &ValidTenant,
    settings: &Settings,
    credentials: &Credentials,
    redis_address: &str,
) -> Object {
    let route = Route {
        format: FORMAT,
        tenant: tenant.name.clone(),
        suspended: tenant.suspended,
        redis: Redis {
            endpoint: Endpoint::Standalone { address: redis_address.to_owned() },
            username: Some("gateway".into()),
            password: Some(credentials.gateway_password.clone()),
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
        encryption: credentials.encryption.clone(),
    };
    let mut metadata = owned(tenant, &settings.gateway_namespace, &secret_name(&tenant.name), None);
    metadata.labels.get_or_insert_default().insert(ROUTE_LABEL.into(), "true".into());
    let secret = Secret {
        metadata,
        type_: Some(SECRET_TYPE.into()),
        data: Some([(SECRET_KEY.to_owned(), ByteString(route.to_json().into_bytes()))].into()),
        ..Secret::default()
    };
    object(Kind::Secret, &secret)
}
