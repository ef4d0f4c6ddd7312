//! `spec.encryption`: values encrypted at rest.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Values that Redis, its volume and its backups hold only encrypted (AES-256-GCM-SIV), with a key of the tenant's own in its
/// Secret `credentials`. Keys, tags, content types and the payloads of jobs are not encrypted. Values that are there already
/// are encrypted in the background by the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionSpec {
    /// false after true: values that are there are decrypted in the background.
    #[serde(default)]
    pub enabled: bool,
    /// Which key values are written with: `encryption-key-<keyVersion>` of the Secret, made where it is not there. Raise it by one
    /// to have a new key; values written before are then encrypted anew in the background. 1 to 1000.
    #[serde(default = "first")]
    #[schemars(range(min = 1, max = 1000))]
    pub key_version: i32,
}

fn first() -> i32 {
    1
}

impl Default for EncryptionSpec {
    fn default() -> Self {
        Self { enabled: false, key_version: first() }
    }
}
