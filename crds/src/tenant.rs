//! The Tenant itself: the root of its spec. No rules of the parts, which live beside their types.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    audit::AuditSpec, auth::AuthSpec, autoscaling::AutoscalingSpec, cache::CacheSpec,
    encryption::EncryptionSpec, hibernation::HibernationSpec, network::NetworkSpec, redis::RedisSpec,
    status::TenantStatus, worker::WorkerSpec,
};

/// A tenant: a Redis of its own, its credentials, its REST API and a worker for its jobs.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keystead.io",
    version = "v1alpha1",
    kind = "Tenant",
    plural = "tenants",
    singular = "tenant",
    shortname = "kt",
    category = "keystead",
    doc = "A tenant of Keystead: a Redis of its own, its credentials, its REST API and a worker for its jobs.",
    status = "TenantStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$')")
        .message("a tenant's name has 1 to 40 characters, lower-case letters, digits and '-', and begins and ends with a letter or digit: it becomes the namespace tenant-<name>"),
    printcolumn(name = "Topology", type_ = "string", json_path = ".spec.redis.topology"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Version", type_ = "string", description = "Version of Redis", json_path = ".status.redis.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", priority = "1", json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.autoscaling) || !has(self.autoscaling.workers) || (has(self.autoscaling.workers.minReplicas) ? self.autoscaling.workers.minReplicas : self.worker.replicas) <= (has(self.autoscaling.workers.maxReplicas) ? self.autoscaling.workers.maxReplicas : 1000)")
        .message("worker.replicas (or autoscaling.workers.minReplicas) is above autoscaling.workers.maxReplicas: raise maxReplicas or lower the other"),
    validation = Rule::new("!has(self.autoscaling) || !has(self.autoscaling.readers) || self.redis.topology == 'Replicated'")
        .message("autoscaling.readers follow the members of a Replicated topology: set redis.topology to Replicated, or leave readers out"),
    validation = Rule::new("!has(self.hibernation) || !self.redis.storage.ephemeral")
        .message("hibernation would lose the data of redis.storage.ephemeral each time the tenant sleeps: leave hibernation out"),
    validation = Rule::new("!has(self.autoscaling) || !has(self.autoscaling.workers) || !has(self.autoscaling.workers.minReplicas) || self.autoscaling.workers.minReplicas > 0 || !has(self.audit) || !has(self.audit.lokiUrl)")
        .message("autoscaling.workers.minReplicas is 0 and audit.lokiUrl is set: the worker sends the audit log, also while no job runs. Set minReplicas to 1, or leave lokiUrl out")
)]
pub struct TenantSpec {
    /// true: the gateway answers 403 `tenant_suspended` and the worker is at zero. Data, credentials and Redis stay.
    #[serde(default)]
    pub suspend: bool,
    /// What happens to the data when the Tenant is deleted. Retain keeps the namespace, the volume and the credentials;
    /// a later Tenant of the same name takes them up again. Delete removes everything.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    #[serde(default)]
    pub redis: RedisSpec,
    #[serde(default)]
    pub limits: LimitsSpec,
    #[serde(default)]
    pub auth: AuthSpec,
    #[serde(default)]
    pub cache: CacheSpec,
    #[serde(default)]
    pub audit: AuditSpec,
    #[serde(default)]
    pub encryption: EncryptionSpec,
    #[serde(default)]
    pub worker: WorkerSpec,
    #[serde(default)]
    pub autoscaling: AutoscalingSpec,
    #[serde(default)]
    pub network: NetworkSpec,
    /// Without it the tenant never sleeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hibernation: Option<HibernationSpec>,
}

/// What the deletion of a Tenant does with its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// What the gateway enforces on each request of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.burst) || has(self.requestsPerSecond)")
        .message("limits.burst is how far limits.requestsPerSecond may be exceeded: set that too"),
    validation = Rule::new("!has(self.userBurst) || has(self.userRequestsPerSecond)")
        .message("limits.userBurst is how far limits.userRequestsPerSecond may be exceeded: set that too")
)]
pub struct LimitsSpec {
    /// Longest key, in bytes of UTF-8.
    #[serde(default = "max_key_bytes")]
    #[schemars(range(min = 1, max = 256))]
    pub max_key_bytes: i32,
    /// Largest value, in bytes. At most 64 MiB.
    #[serde(default = "max_value_bytes")]
    #[schemars(range(min = 1, max = 67_108_864))]
    pub max_value_bytes: i64,
    /// Time to live, in seconds, of an entry written without one. 0: it never expires. At most ten years.
    #[serde(default = "default_ttl_seconds")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub default_ttl_seconds: i64,
    /// Keys that the tenant may have; a write that would make another gets 507. Without it memory is the only bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_keys: Option<i64>,
    /// Requests a second that each gateway pod answers; more get 429. Without it there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<i32>,
    /// Requests at once after a pause. As many as requestsPerSecond when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub burst: Option<i32>,
    /// Requests a second of each user (not of API keys) that each gateway pod answers; more get 429. Without it a user may have
    /// all of the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub user_requests_per_second: Option<i32>,
    /// Requests of a user at once after a pause. As many as userRequestsPerSecond when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub user_burst: Option<i32>,
}

fn max_key_bytes() -> i32 {
    256
}

fn max_value_bytes() -> i64 {
    2 * 1024 * 1024
}

fn default_ttl_seconds() -> i64 {
    3600
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            max_key_bytes: max_key_bytes(),
            max_value_bytes: max_value_bytes(),
            default_ttl_seconds: default_ttl_seconds(),
            max_keys: None,
            requests_per_second: None,
            burst: None,
            user_requests_per_second: None,
            user_burst: None,
        }
    }
}
