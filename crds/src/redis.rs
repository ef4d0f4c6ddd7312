//! `spec.redis`: which Redis a tenant gets, with the rules that keep its data safe.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{quantity, settings};

/// The tenant's Redis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.version) && has(self.image))")
        .message("set redis.version or redis.image, not both: version picks the image from the operator's table"),
    validation = Rule::new("!self.storage.ephemeral || !has(self.persistence.appendOnly) || self.persistence.appendOnly == 'Never'")
        .message("ephemeral storage is lost with its pod: leave redis.persistence.appendOnly out or set it to Never"),
)]
pub struct RedisSpec {
    /// Standalone: one Redis. Cannot be changed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("redis.topology cannot be changed: data does not move between topologies; make a second Tenant and copy it over"))]
    pub topology: Topology,
    /// Picks the image from the operator's table; the operator's default when neither version nor image is given.
    /// Can be raised, not lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = Rule::new("self.matches('^[0-9]{1,4}[.][0-9]{1,4}$')")
            .message("redis.version is major and minor, such as \"7.2\" (in quotes: YAML takes 7.20 for a number)"),
        validation = Rule::new("!self.matches('^[0-9]{1,4}[.][0-9]{1,4}$') || !oldSelf.matches('^[0-9]{1,4}[.][0-9]{1,4}$') || int(self.split('.')[0]) * 10000 + int(self.split('.')[1]) >= int(oldSelf.split('.')[0]) * 10000 + int(oldSelf.split('.')[1])")
            .message("redis.version cannot go down: an older Redis does not read the files of a newer one"),
    )]
    pub version: Option<String>,
    /// An image of Redis 7.0 or later (or Valkey) in place of the operator's table, best by digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][^ \\\\t\\\\n]*$')")
        .message("redis.image is empty or no image reference: give one such as registry/redis:7.2, or leave it out to use the operator's"))]
    pub image: Option<String>,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub storage: StorageSpec,
    #[serde(default)]
    pub persistence: PersistenceSpec,
    /// What Redis does when its memory is full. NoEviction: writes fail. Volatile…: entries with a time to live make room.
    /// Redis' allkeys-… policies are not offered: they would evict accounts, indexes and jobs.
    #[serde(default)]
    pub eviction_policy: EvictionPolicy,
    /// Further settings of redis.conf, from a list of those that endanger neither the data nor the isolation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "settings::schema")]
    pub config: BTreeMap<String, String>,
}

/// How many Redis processes a tenant has and what they are to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Topology {
    #[default]
    Standalone,
}

impl Topology {
    /// As in the manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "Standalone",
        }
    }
}

/// CPU and memory of a container. What is left out takes the operator's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.limits) || !has(self.limits.memory) || !isQuantity(string(self.limits.memory)) || !quantity(string(self.limits.memory)).isLessThan(quantity('32Mi'))")
        .message("limits.memory is below 32Mi, in which nothing starts: raise it (the unit is one of Ki, Mi, Gi)"),
    validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || !isQuantity(string(self.requests.memory)) || !isQuantity(string(self.limits.memory)) || !quantity(string(self.requests.memory)).isGreaterThan(quantity(string(self.limits.memory)))")
        .message("requests.memory is above limits.memory: lower the request or raise the limit"),
    validation = Rule::new("!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || !isQuantity(string(self.requests.cpu)) || !isQuantity(string(self.limits.cpu)) || !quantity(string(self.requests.cpu)).isGreaterThan(quantity(string(self.limits.cpu)))")
        .message("requests.cpu is above limits.cpu: lower the request or raise the limit"),
    validation = Rule::new("!has(self.requests) || !has(self.requests.memory) || (has(self.limits) && has(self.limits.memory))")
        .message("requests.memory without limits.memory: give the limit too, what may be used follows from it"),
)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "ResourceAmounts::is_empty")]
    pub requests: ResourceAmounts,
    #[serde(default, skip_serializing_if = "ResourceAmounts::is_empty")]
    pub limits: ResourceAmounts,
}

/// An amount of CPU and one of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// In cores, such as 100m or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity::schema")]
    pub cpu: Option<Quantity>,
    /// In bytes, such as 256Mi or 2Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity::schema")]
    pub memory: Option<Quantity>,
}

impl ResourceAmounts {
    fn is_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

/// Where the data lies: on a PersistentVolumeClaim, or nowhere that outlives the pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.ephemeral || (!has(self.size) && !has(self.storageClassName))")
        .message("redis.storage is ephemeral and has a size or a class as well: leave size and storageClassName out, or ephemeral"),
    validation = Rule::new("self.ephemeral == oldSelf.ephemeral")
        .message("redis.storage.ephemeral cannot be changed: the data would be left behind; make a second Tenant and copy it over"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("redis.storage.storageClassName cannot be changed: a volume stays in its class; make a second Tenant and copy the data over"),
    validation = Rule::new("(has(self.size) && !isQuantity(string(self.size))) || (has(oldSelf.size) && !isQuantity(string(oldSelf.size))) || !quantity(has(self.size) ? string(self.size) : '1Gi').isLessThan(quantity(has(oldSelf.size) ? string(oldSelf.size) : '1Gi'))")
        .message("redis.storage.size cannot shrink: a volume only grows; set it to at least what it was (1Gi where it was not given)"),
)]
pub struct StorageSpec {
    /// Size of the volume; 1Gi when left out. Can grow, where the storage class allows it, and never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity::schema")]
    pub size: Option<Quantity>,
    /// The storage class; the cluster's default when left out. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("size(self) > 0")
        .message("redis.storage.storageClassName is empty: name a class, or leave it out to use the cluster's default"))]
    pub storage_class_name: Option<String>,
    /// true: no volume. Everything is lost whenever the pod goes: for caches only. Cannot be changed.
    #[serde(default)]
    pub ephemeral: bool,
}

/// How Redis writes its data to the volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistenceSpec {
    /// The append-only file. EverySecond (default): a power cut loses up to a second. Always: every write waits for the
    /// disk. Never: snapshots alone, a crash loses minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_only: Option<AppendOnly>,
}

/// When the append-only file reaches the disk (`appendfsync`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AppendOnly {
    #[default]
    EverySecond,
    Always,
    Never,
}

/// `maxmemory-policy`, as far as it leaves accounts, indexes and jobs alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EvictionPolicy {
    #[default]
    NoEviction,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}
