//! `spec.autoscaling`: how the number of pods follows the load.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is scaled by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingSpec {
    #[serde(default)]
    pub workers: WorkerAutoscaling,
    /// Redis of a Replicated topology that only answer reads, those with `consistency=replica` or all (redis.reads), beside the
    /// members; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<ReaderAutoscaling>,
}

/// A HorizontalPodAutoscaler for Redis that only answer reads. They never become the primary and no write waits for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("autoscaling.readers.minReplicas is above maxReplicas: raise maxReplicas or lower minReplicas"),
    validation = Rule::new("(self.profile == 'Custom') == has(self.behavior)")
        .message("autoscaling.readers.behavior and profile Custom go together: give both, or neither and pick the profile Api or Cache"),
)]
pub struct ReaderAutoscaling {
    /// Cache: one pod a step. Api: up within 30 s, down over 10 min. Custom: what behavior says.
    #[serde(default = "cache")]
    pub profile: Profile,
    #[serde(default = "fewest_readers")]
    #[schemars(range(min = 1, max = 100))]
    pub min_replicas: i32,
    #[serde(default = "most_readers")]
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: i32,
    /// Wanted use of the requested CPU, in percent.
    #[serde(default = "cpu_utilization")]
    #[schemars(range(min = 1, max = 1000))]
    pub cpu_utilization: i32,
    /// As in autoscaling/v2; only with profile Custom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

fn cache() -> Profile {
    Profile::Cache
}

fn fewest_readers() -> i32 {
    1
}

fn most_readers() -> i32 {
    4
}

/// A HorizontalPodAutoscaler for the worker. With minReplicas equal to maxReplicas there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas")
        .message("autoscaling.workers.minReplicas is above maxReplicas: raise maxReplicas or lower minReplicas"),
    validation = Rule::new("(self.profile == 'Custom') == has(self.behavior)")
        .message("autoscaling.workers.behavior and profile Custom go together: give both, or neither and pick the profile Api or Cache"),
)]
pub struct WorkerAutoscaling {
    /// Api: up within 30 s, down over 10 min. Cache: one pod a step. Custom: what behavior says.
    #[serde(default)]
    pub profile: Profile,
    /// worker.replicas when left out. 0: no pod while there is no job; the first one that is due brings a pod back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub min_replicas: Option<i32>,
    /// 10 when left out, or worker.replicas where that is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: Option<i32>,
    /// Wanted use of the requested CPU, in percent.
    #[serde(default = "cpu_utilization")]
    #[schemars(range(min = 1, max = 1000))]
    pub cpu_utilization: i32,
    /// Wanted jobs for each pod, of those that wait and those that run. Goes by it only where the installation serves the metric
    /// (the chart's operator.externalMetrics).
    #[serde(default = "queue_depth")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub queue_depth: i32,
    /// As in autoscaling/v2; only with profile Custom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

fn queue_depth() -> i32 {
    100
}

fn cpu_utilization() -> i32 {
    70
}

impl Default for WorkerAutoscaling {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            min_replicas: None,
            max_replicas: None,
            cpu_utilization: cpu_utilization(),
            queue_depth: queue_depth(),
            behavior: None,
        }
    }
}

/// How eagerly pods come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Profile {
    #[default]
    Api,
    Cache,
    Custom,
}
