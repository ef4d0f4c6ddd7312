//! The HorizontalPodAutoscaler of the tenant's worker, with the behaviour of its profile.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    tenant::{
        names,
        validate::{Behavior, Replicas, ValidTenant},
    },
};

pub(super) fn build(tenant: &ValidTenant) -> Option<Object> {
    let Replicas::Scaled(scaling) = &tenant.worker.replicas else { return None };
    let namespace = names::namespace(&tenant.name);
    let autoscaler = HorizontalPodAutoscaler {
        metadata: owned(tenant, &namespace, names::WORKER, Some(names::WORKER)),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".into()),
                kind: "Deployment".into(),
                name: names::WORKER.into(),
            },
            min_replicas: Some(scaling.min),
            max_replicas: scaling.max,
            metrics: Some(vec![MetricSpec {
                type_: "Resource".into(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".into(),
                    target: MetricTarget {
                        type_: "Utilization".into(),
                        average_utilization: Some(scaling.cpu_utilization),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            behavior: Some(behavior(&scaling.behavior)),
        }),
        ..HorizontalPodAutoscaler::default()
    };
    Some(object(Kind::HorizontalPodAutoscaler, &autoscaler))
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
