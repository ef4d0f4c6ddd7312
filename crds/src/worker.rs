//! `spec.worker`: the pods that run the tenant's jobs.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::redis::Resources;

/// The tenant's worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec {
    /// Pods, or with autoscaling the least of them. 0: no worker, jobs wait.
    #[serde(default = "replicas")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// Jobs that one pod runs at the same time.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: i32,
    /// A worker of your own that speaks the documented queue; its own entrypoint is run. The operator's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][^ \\\\t\\\\n]*$')")
        .message("worker.image is empty or no image reference: give one such as registry/worker:1.0, or leave it out to use the operator's"))]
    pub image: Option<String>,
    #[serde(default)]
    pub resources: Resources,
}

fn replicas() -> i32 {
    1
}

fn concurrency() -> i32 {
    16
}

impl Default for WorkerSpec {
    fn default() -> Self {
        Self {
            replicas: replicas(),
            concurrency: concurrency(),
            image: None,
            resources: Resources::default(),
        }
    }
}
