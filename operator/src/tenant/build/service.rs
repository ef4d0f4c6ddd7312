//! The Services of the tenant's Redis: the address that gateway and worker use, and the one that gives its pods names.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use keystead_crds::Topology;

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    tenant::{names, validate::ValidTenant},
};

pub(super) fn client(tenant: &ValidTenant) -> Object {
    build(tenant, names::REDIS, |spec| {
        spec.type_ = Some("ClusterIP".into());
        // There is no other pod to turn to while the only one is not ready: so clients are there the moment that Redis
        // listens, not a probe and a round of endpoints later, and what it answers until it is ready they know.
        spec.publish_not_ready_addresses = Some(true);
    })
}

/// The address of one member, the same for as long as the tenant is there: Redis and the Sentinels know each other by it, so
/// that a pod that comes back with another address is not a stranger to them.
pub(super) fn member(tenant: &ValidTenant, pod: &str) -> Object {
    let among = match tenant.redis.topology() {
        Topology::Cluster => port("bus", names::BUS_PORT),
        Topology::Standalone | Topology::Replicated => port(names::SENTINEL, names::SENTINEL_PORT),
    };
    build(tenant, pod, |spec| {
        spec.type_ = Some("ClusterIP".into());
        spec.publish_not_ready_addresses = Some(true);
        let selector = spec.selector.get_or_insert_default();
        selector.insert("statefulset.kubernetes.io/pod-name".into(), pod.to_owned());
        spec.ports.get_or_insert_default().push(among);
    })
}

/// The address of all that only answer reads. One that is not ready has lost the others, or is fetching the data.
pub(super) fn readers(tenant: &ValidTenant) -> Object {
    build(tenant, names::REDIS_READERS, |spec| {
        spec.type_ = Some("ClusterIP".into());
        spec.selector = Some(names::selector(&tenant.name, names::REDIS_READERS));
    })
}

pub(super) fn headless(tenant: &ValidTenant) -> Object {
    build(tenant, names::REDIS_HEADLESS, |spec| {
        spec.cluster_ip = Some("None".into());
        spec.publish_not_ready_addresses = Some(true);
    })
}

fn build(tenant: &ValidTenant, name: &str, change: impl FnOnce(&mut ServiceSpec)) -> Object {
    let namespace = names::namespace(&tenant.name);
    let selector: BTreeMap<_, _> = names::selector(&tenant.name, names::REDIS);
    let mut spec = ServiceSpec {
        selector: Some(selector),
        ports: Some(vec![port(names::REDIS, names::REDIS_PORT)]),
        ..ServiceSpec::default()
    };
    change(&mut spec);
    let metadata = owned(tenant, &namespace, name, Some(names::REDIS));
    object(Kind::Service, &Service { metadata, spec: Some(spec), ..Service::default() })
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    }
}
