//! `status` of a Tenant: conditions for machines (kstatus), a phase for people.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Types of the conditions.
pub mod condition {
    /// Everything that the spec asks for is there and works.
    pub const READY: &str = "Ready";
    /// The operator is at work or waits for the cluster (kstatus).
    pub const RECONCILING: &str = "Reconciling";
    /// The spec cannot be carried out until somebody changes something (kstatus).
    pub const STALLED: &str = "Stalled";
    pub const REDIS_AVAILABLE: &str = "RedisAvailable";
    pub const WORKER_AVAILABLE: &str = "WorkerAvailable";
    /// Of a tenant with `autoscaling.readers` only.
    pub const READERS_AVAILABLE: &str = "ReadersAvailable";
    /// The gateway has been told how to serve the tenant.
    pub const ROUTE_READY: &str = "RouteReady";
}

/// What the operator has seen of the tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// The generation of the spec that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
    /// Path of the tenant's REST API at the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What the tenant uses. Written when it has changed by more than a little, and every ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageStatus>,
}

/// Where a tenant is in its life, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    Pending,
    Provisioning,
    Ready,
    Updating,
    Degraded,
    Suspended,
    /// Nobody uses it: no pod runs, and the first request wakes it.
    Sleeping,
    Deleting,
    Failed,
}

/// What is known of the tenant's Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<String>,
    /// Of the operator's table, or the tag or digest of the spec's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version that is known to have run last, so that the files are its own: an earlier one would not read them. Also while no
    /// pod runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_version: Option<String>,
    /// The pod that takes the writes; absent while there is none, and where each shard has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Of a Cluster topology: the pod that takes the writes of each shard, or did last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primaries: Vec<String>,
    /// Of a Cluster topology: shards that hold a part of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<i32>,
    #[serde(default)]
    pub ready_members: i32,
    /// Of `autoscaling.readers`, those that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_readers: Option<i32>,
    /// Of a Replicated or Cluster topology, as they say themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// How far a replacement of the passwords is: Spreading (Redis learns the next ones) or Settling (they are in use, those
    /// before are still valid); absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<String>,
    /// The primary whose pod the operator replaces, until another member has taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handing_over: Option<String>,
    /// When another member became the primary the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover: Option<Failover>,
}

/// A member of a Replicated or Cluster topology.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Of the pod.
    pub name: String,
    /// `host:port`, the same for ever.
    pub address: String,
    /// Number of its shard in a Cluster topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<i32>,
    pub role: MemberRole,
    /// Of its Redis, by its own word; absent where it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Seconds since the primary last heard of a replica: 0 for less than 2, else the next ten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
}

/// What a member is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberRole {
    Primary,
    /// Has what the primary has, or is about to.
    Replica,
    /// A replica that fetches the data, or has lost its primary.
    Syncing,
    /// It holds nothing yet, or nothing any more.
    Empty,
    /// It does not answer.
    #[default]
    Unknown,
}

/// A change of the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// When it was noticed.
    pub at: Time,
    /// Number of the shard in a Cluster topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<i32>,
    pub from: String,
    pub to: String,
    /// `HandOver`: the operator replaced the pod of the former primary. `Failover`: the former primary failed, or somebody
    /// else ended its pod.
    pub reason: String,
}

/// What a tenant uses; of a Cluster topology, of all shards together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageStatus {
    /// Entries, without those that have expired.
    pub keys: i64,
    pub memory_bytes: i64,
    /// That Redis may take. 0: no bound.
    pub max_memory_bytes: i64,
    /// Look-ups of keys since Redis started that have found one, of a hundred; absent while there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_rate_percent: Option<i32>,
    pub connections: i64,
    /// How far the replica is behind that is the furthest; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_lag_bytes: Option<i64>,
    /// Jobs that may begin, and wait.
    pub queue_waiting: i64,
    pub queue_running: i64,
    /// Since when the job has waited that has waited the longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting_since: Option<Time>,
    /// When Redis was asked. More than ten minutes ago: it does not answer.
    pub observed_at: Time,
}

/// Written out, so that server-side apply merges conditions by their type: other controllers may add their own.
fn conditions(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "reason": { "type": "string", "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
            },
        },
    })
}
