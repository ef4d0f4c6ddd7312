//! `spec.audit`: who did what, written down.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The audit log: every operation through the gateway with who asked for it, the key, the result and the request's id, never a
/// value. Admins read it with `GET /api/v1/audit`. It is written beside the requests, also for reads: each of them is a write to
/// the tenant's Redis then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.lokiUrl) || self.enabled")
        .message("audit.lokiUrl is where the audit log is sent: set audit.enabled too")
)]
pub struct AuditSpec {
    #[serde(default)]
    pub enabled: bool,
    /// Entries that are kept, in the tenant's Redis: about 100 bytes each. The oldest go first; those that were not sent are counted.
    #[serde(default = "max_entries")]
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub max_entries: i64,
    /// A Loki to which the worker sends the entries. Name its address in network.allowEgress too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$')")
        .message("audit.lokiUrl is an http or https URL without user and query, such as http://loki.monitoring:3100"))]
    pub loki_url: Option<String>,
}

fn max_entries() -> i64 {
    100_000
}

impl Default for AuditSpec {
    fn default() -> Self {
        Self { enabled: false, max_entries: max_entries(), loki_url: None }
    }
}
