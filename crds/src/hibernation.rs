//! `spec.hibernation`: a tenant that nobody uses costs its volumes, and nothing else.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// After a time without a request and without a job the tenant sleeps: no worker and no Redis runs, its volumes are kept. The
/// next request, or a job that is due, wakes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HibernationSpec {
    /// How long nobody has asked for anything before it sleeps, 1m to 8760h; it may be a minute more.
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,9}[hms])+$') && duration(self) >= duration('1m') && duration(self) <= duration('8760h')")
        .message("hibernation.idleAfter is a duration of 1m to 8760h, such as 30m"))]
    pub idle_after: String,
}
