//! The Services of the tenant's Redis: the address that gateway and worker use, and the one that gives its pods names.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

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
        ports: Some(vec![ServicePort {
            name: Some("redis".into()),
            port: names::REDIS_PORT,
            target_port: Some(IntOrString::Int(names::REDIS_PORT)),
            protocol: Some("TCP".into()),
            ..ServicePort::default()
        }]),
        ..ServiceSpec::default()
    };
    change(&mut spec);
    let metadata = owned(tenant, &namespace, name, Some(names::REDIS));
    object(Kind::Service, &Service { metadata, spec: Some(spec), ..Service::default() })
}
