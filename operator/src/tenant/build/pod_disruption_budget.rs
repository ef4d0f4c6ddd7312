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
    budget(tenant, component, component, None)
}

/// Of Redis: of those that hold the same.
pub(super) fn redis(tenant: &ValidTenant) -> Vec<Object> {
    match tenant.redis.shards() {
        None => vec![build(tenant, names::REDIS)],
        Some(shards) => shards
            .numbers()
            .map(|shard| budget(tenant, &names::shard(shard), names::REDIS, Some(shard)))
            .collect(),
    }
}

fn budget(tenant: &ValidTenant, name: &str, component: &str, shard: Option<u8>) -> Object {
    let namespace = names::namespace(&tenant.name);
    let budget = PodDisruptionBudget {
        metadata: owned(tenant, &namespace, name, Some(component)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(names::in_shard(names::selector(&tenant.name, component), shard)),
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
