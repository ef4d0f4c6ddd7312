//! `spec.redis`: which Redis a tenant gets, with the rules that keep its data safe.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{quantity, settings, tls::TlsSpec};

/// The tenant's Redis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.version) && has(self.image))")
        .message("set redis.version or redis.image, not both: version picks the image from the operator's table"),
    validation = Rule::new("!self.storage.ephemeral || !has(self.persistence.appendOnly) || self.persistence.appendOnly == 'Never'")
        .message("ephemeral storage is lost with its pod: leave redis.persistence.appendOnly out or set it to Never"),
    validation = Rule::new("!has(self.members) || self.topology == 'Replicated'")
        .message("redis.members is the number of Redis of a Replicated topology: leave it out, or set redis.topology to Replicated"),
    validation = Rule::new("oldSelf.topology != 'Replicated' || self.topology != 'Replicated' || (has(self.members) ? self.members : 3) >= (has(oldSelf.members) ? oldSelf.members : 3)")
        .message("redis.members cannot go down: those that stay could not tell whether the others are gone or cut off; make a second Tenant and copy the data over"),
    validation = Rule::new("!has(self.shards) || self.topology == 'Cluster'")
        .message("redis.shards is the number of parts of a Cluster topology: leave it out, or set redis.topology to Cluster"),
    validation = Rule::new("!has(self.replicasPerShard) || self.topology == 'Cluster'")
        .message("redis.replicasPerShard is for a Cluster topology: leave it out, or set redis.topology to Cluster"),
    validation = Rule::new("oldSelf.topology != 'Cluster' || self.topology != 'Cluster' || (has(self.replicasPerShard) ? self.replicasPerShard : 1) >= (has(oldSelf.replicasPerShard) ? oldSelf.replicasPerShard : 1)")
        .message("redis.replicasPerShard cannot go down: those that stay could not tell whether the others are gone or cut off; make a second Tenant and bring the data over by backup and restore"),
    validation = Rule::new("self.topology != 'Cluster' || !self.storage.ephemeral")
        .message("redis.storage.ephemeral does not go with a Cluster topology: a member keeps on its volume which part of the data it holds; leave ephemeral out"),
    validation = Rule::new("self.durability != 'Replicated' || self.topology != 'Standalone'")
        .message("redis.durability Replicated needs another Redis that has the write: set redis.topology to Replicated, or durability to Async or Fsync"),
    validation = Rule::new("self.durability != 'Replicated' || self.topology != 'Cluster' || !has(self.replicasPerShard) || self.replicasPerShard >= 1")
        .message("redis.durability Replicated needs another Redis that has the write: set redis.replicasPerShard to 1 or 2, or durability to Async or Fsync"),
    validation = Rule::new("self.durability != 'Fsync' || (!self.storage.ephemeral && (!has(self.persistence.appendOnly) || self.persistence.appendOnly != 'Never'))")
        .message("redis.durability Fsync waits for the append-only file: leave storage.ephemeral and persistence.appendOnly Never out, or set durability to Async"),
    validation = Rule::new("self.durability != 'Fsync' || !has(self.version) || !self.version.matches('^[0-9]{1,4}[.][0-9]{1,4}$') || int(self.version.split('.')[0]) * 10000 + int(self.version.split('.')[1]) >= 70002")
        .message("redis.durability Fsync needs Redis 7.2 or later (WAITAOF): raise redis.version, or set durability to Async or Replicated"),
    validation = Rule::new("self.reads != 'Replica' || self.topology != 'Standalone'")
        .message("redis.reads Replica needs another Redis that answers: set redis.topology to Replicated or Cluster, or reads to Primary"),
    validation = Rule::new("self.reads != 'Replica' || self.topology != 'Cluster' || !has(self.replicasPerShard) || self.replicasPerShard >= 1")
        .message("redis.reads Replica needs another Redis that answers: set redis.replicasPerShard to 1 or 2, or reads to Primary"),
)]
pub struct RedisSpec {
    /// Standalone: one Redis. Replicated: several, one of which takes the writes; another takes over when it fails. Cluster:
    /// the data in several parts (shards), each with a Redis that takes its writes, for more than one can hold or serve.
    /// Standalone can be changed to Replicated, with Redis away for some seconds; nothing else can be changed.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self == 'Cluster' || oldSelf == 'Cluster' || self == oldSelf || (oldSelf == 'Standalone' && self == 'Replicated')")
            .message("redis.topology changes only from Standalone to Replicated: make a second Tenant and copy the data over"),
        validation = Rule::new("(self == 'Cluster') == (oldSelf == 'Cluster')")
            .message("redis.topology does not change from or to Cluster, which lays the data out otherwise: make a second Tenant and bring the data over by backup and restore"),
    )]
    pub topology: Topology,
    /// Redis of a Replicated topology, each with a Sentinel: 3 (default) or 5. Can be raised, not lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == 3 || self == 5")
        .message("redis.members is 3 or 5: with an even number a cut in the middle leaves no majority"))]
    pub members: Option<i32>,
    /// Parts of the data of a Cluster topology: 3 (default) to 16. Can be raised and lowered: the data is moved while it is
    /// served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = 16))]
    pub shards: Option<i32>,
    /// Redis of each shard beside the one that takes its writes: 0, 1 (default) or 2. Without one, a shard is away whenever its
    /// Redis is. Can be raised, not lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2))]
    pub replicas_per_shard: Option<i32>,
    /// When a write is acknowledged. Async: as soon as the primary has it. Replicated: as soon as most of the members have
    /// it. Fsync: as soon as it is on disk, of the primary and of most of the members; needs Redis 7.2.
    #[serde(default)]
    pub durability: Durability,
    /// Who answers reads of entries and lists that do not say it themselves (`consistency`). Primary: what was acknowledged is
    /// seen. Replica: a replica or reader where one is quick, and it may be a little behind.
    #[serde(default)]
    pub reads: Reads,
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
    #[serde(default, skip_serializing_if = "CredentialsSpec::is_default")]
    pub credentials: CredentialsSpec,
    #[serde(default)]
    pub tls: TlsSpec,
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
    Replicated,
    Cluster,
}

impl Topology {
    /// As in the manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "Standalone",
            Self::Replicated => "Replicated",
            Self::Cluster => "Cluster",
        }
    }
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    #[default]
    Async,
    Replicated,
    Fsync,
}

impl From<Durability> for keystead_route::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Async => Self::Async,
            Durability::Replicated => Self::Replicated,
            Durability::Fsync => Self::Fsync,
        }
    }
}

/// Who answers reads that do not say it themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reads {
    #[default]
    Primary,
    Replica,
}

impl From<Reads> for keystead_route::Reads {
    fn from(reads: Reads) -> Self {
        match reads {
            Reads::Primary => Self::Primary,
            Reads::Replica => Self::Replica,
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

/// The passwords with which gateway, worker and the members log in to Redis. The annotation keystead.io/rotate-passwords has them
/// replaced whenever its value changes; nobody is cut off by that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.existingSecret) || !has(self.rotateAfter)")
        .message("redis.credentials.rotateAfter does not go with existingSecret: who keeps the passwords replaces them"),
)]
pub struct CredentialsSpec {
    /// A Secret in the tenant's namespace in which somebody else keeps the passwords (External Secrets, Vault):
    /// gateway-password, worker-password, monitor-password, and keeper-password of a Standalone, replication-password and
    /// sentinel-password of a Replicated, replication-password and cluster-password of a Cluster topology, and app-password where
    /// network.allowFrom names somebody, if that is not to be made. When they change, the new ones are taken over within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$') && !(self in ['credentials', 'redis-users', 'redis-app'])")
        .message("redis.credentials.existingSecret is the name of a Secret in the tenant's namespace, other than credentials, redis-users and redis-app, which the operator writes"))]
    #[schemars(length(max = 253))]
    pub existing_secret: Option<String>,
    /// New passwords are made after this time, such as 720h; never when left out. 1h to 87600h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,9}[hms])+$') && duration(self) >= duration('1h') && duration(self) <= duration('87600h')")
        .message("redis.credentials.rotateAfter is a duration of 1h to 87600h, such as 720h"))]
    pub rotate_after: Option<String>,
}

impl CredentialsSpec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
