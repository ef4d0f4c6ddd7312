//! Of a component, at most one pod is away on purpose. A drain is never blocked by a tenant that
//! has only one pod: such a tenant has chosen to be away for that moment.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    tenant::{names, validate::ValidTenant},
};

pub(super) fn build(tenant: &ValidTenant, component: &str) -> Object {
    let namespace = names::namespace(&tenant.name);
    let budget = PodDisruptionBudget {
        metadata: owned(tenant, &namespace, component, Some(component)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(&tenant.name, component)),
                ..LabelSelector::default()
            }),
            // A pod that is not ready serves nobody: it never holds up a drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    object(Kind::PodDisruptionBudget, &budget)
}
