//! `spec.cache`: entries that the gateway keeps in its memory.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Entries that each gateway pod keeps in its memory, so that reading them again asks no Redis. Redis tells the gateway of
/// every change: a read sees a write through the same pod at once, and one through another pod as soon as Redis has told of
/// it, usually within a millisecond; within two seconds where the network swallows packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheSpec {
    #[serde(default)]
    pub enabled: bool,
    /// Room for entries, in bytes, in each gateway pod. 1 MiB to 1 GiB. A value of more than an eighth of it is not kept.
    #[serde(default = "max_bytes")]
    #[schemars(range(min = 1_048_576, max = 1_073_741_824))]
    pub max_bytes: i64,
}

fn max_bytes() -> i64 {
    16 * 1024 * 1024
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self { enabled: false, max_bytes: max_bytes() }
    }
}
