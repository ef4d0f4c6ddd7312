//! `spec.redis.tls`: whether what is sent to and between the Redis of a tenant is encrypted.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// TLS between the tenant's Redis and Sentinels, the gateway, the worker and the operator. Certificates are made and renewed by
/// the operator, while everything runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.issuerSecretRef) || self.enabled")
        .message("redis.tls.issuerSecretRef names who signs certificates, and without TLS there are none: set redis.tls.enabled to true, or leave it out"),
    validation = Rule::new("self.enabled == oldSelf.enabled")
        .message("redis.tls.enabled cannot be changed: those that already speak TLS and those that do not yet would not understand each other; back the data up and restore it into a second Tenant"),
)]
pub struct TlsSpec {
    /// true: Redis takes connections by TLS only. Cannot be changed.
    #[serde(default)]
    pub enabled: bool,
    /// A Secret in the tenant's namespace with the key pair of a CA (tls.crt and tls.key), as a CA issuer of cert-manager has it:
    /// it signs the certificates. When left out, the operator makes a CA for the tenant. Can be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$') && !(self in ['credentials', 'redis-users', 'redis-app', 'redis-ca', 'redis-tls'])")
        .message("redis.tls.issuerSecretRef is the name of a Secret in the tenant's namespace, other than credentials, redis-users, redis-app, redis-ca and redis-tls, which the operator writes"))]
    #[schemars(length(max = 253))]
    pub issuer_secret_ref: Option<String>,
}
