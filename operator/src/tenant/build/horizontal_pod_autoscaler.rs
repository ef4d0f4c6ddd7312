//! Autoscalers (`HorizontalPodAutoscaler`) of the worker and the readers, each with the behaviour of its profile.

use k8s_openapi::{
    api::autoscaling::v2::{
        CrossVersionObjectReference, ExternalMetricSource, HPAScalingPolicy, HPAScalingRules,
        HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
        MetricIdentifier, MetricSpec, MetricTarget, ResourceMetricSource,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector},
};

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    metrics::QUEUE_DEPTH,
    tenant::{
        names,
        validate::{Behavior, Replicas, Scaling, ValidTenant},
    },
};

pub(super) fn worker(tenant: &ValidTenant) -> Option<Object> {
    let Replicas::Scaled(scaling) = &tenant.worker.replicas else { return None };
    Some(build(tenant, Kind::Deployment, names::WORKER, scaling))
}

pub(super) fn readers(tenant: &ValidTenant) -> Option<Object> {
    Some(build(tenant, Kind::StatefulSet, names::REDIS_READERS, tenant.readers.as_ref()?))
}

fn build(tenant: &ValidTenant, kind: Kind, name: &str, scaling: &Scaling) -> Object {
    let namespace = names::namespace(&tenant.name);
    let autoscaler = HorizontalPodAutoscaler {
        metadata: owned(tenant, &namespace, name, Some(name)),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".into()),
                kind: kind.as_str().into(),
                name: name.into(),
            },
            // None would need a feature gate of Kubernetes: between none and one the operator decides.
            min_replicas: Some(scaling.min.max(1)),
            max_replicas: scaling.max,
            metrics: Some(
                [Some(cpu(scaling.cpu_utilization)), scaling.queue_depth.map(|depth| queue(tenant, depth))]
                    .into_iter()
                    .flatten()
                    .collect(),
            ),
            behavior: Some(behavior(&scaling.behavior)),
        }),
        ..HorizontalPodAutoscaler::default()
    };
    object(Kind::HorizontalPodAutoscaler, &autoscaler)
}

fn cpu(utilization: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".into(),
        resource: Some(ResourceMetricSource {
            name: "cpu".into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(utilization),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

/// Jobs that wait or run, divided among the pods: one of both is still needed where all of the jobs run.
fn queue(tenant: &ValidTenant, depth: i32) -> MetricSpec {
    let label = (names::METRIC_LABEL.to_owned(), tenant.name.to_string());
    MetricSpec {
        type_: "External".into(),
        external: Some(ExternalMetricSource {
            metric: MetricIdentifier {
                name: QUEUE_DEPTH.into(),
                selector: Some(LabelSelector {
                    match_labels: Some([label].into()),
                    ..LabelSelector::default()
                }),
            },
            target: MetricTarget {
                type_: "AverageValue".into(),
                average_value: Some(Quantity(depth.to_string())),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

fn behavior(behavior: &Behavior) -> HorizontalPodAutoscalerBehavior {
    let rules = |stabilization: i32, policies: Vec<HPAScalingPolicy>| HPAScalingRules {
        stabilization_window_seconds: Some(stabilization),
        select_policy: Some("Max".into()),
        policies: Some(policies),
        ..HPAScalingRules::default()
    };
    let policy = |type_: &str, value: i32, period: i32| HPAScalingPolicy {
        type_: type_.into(),
        value,
        period_seconds: period,
    };
    match behavior {
        // Doubles, or adds four pods, every 15 s; goes down by what ten minutes have not needed.
        Behavior::Api => HorizontalPodAutoscalerBehavior {
            scale_up: Some(rules(0, vec![policy("Percent", 100, 15), policy("Pods", 4, 15)])),
            scale_down: Some(rules(600, vec![policy("Percent", 100, 60)])),
        },
        Behavior::Cache => HorizontalPodAutoscalerBehavior {
            scale_up: Some(rules(60, vec![policy("Pods", 1, 60)])),
            scale_down: Some(rules(300, vec![policy("Pods", 1, 120)])),
        },
        Behavior::Custom(behavior) => behavior.clone(),
    }
}
