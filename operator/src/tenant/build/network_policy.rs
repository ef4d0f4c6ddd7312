//! The tenant's NetworkPolicies: everything is denied, then what is needed is allowed.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use keystead_crds::Peer;

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    settings::Settings,
    tenant::{names, validate::ValidTenant},
};

/// Nothing in, nothing out, for every pod of the namespace.
pub(super) fn default_deny(tenant: &ValidTenant) -> Object {
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector::default()),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        ..NetworkPolicySpec::default()
    };
    build(tenant, names::DEFAULT_DENY, None, spec)
}

/// Redis is reached by the gateway, the tenant's own worker and the peers of the spec; it reaches nobody.
pub(super) fn redis(tenant: &ValidTenant, settings: &Settings) -> Object {
    let gateway = NetworkPolicyPeer {
        namespace_selector: Some(labels([(
            "kubernetes.io/metadata.name",
            settings.gateway_namespace.as_str(),
        )])),
        pod_selector: Some(labels([
            (names::NAME_LABEL, names::APPLICATION),
            (names::COMPONENT_LABEL, "gateway"),
        ])),
        ip_block: None,
    };
    let mut from = vec![gateway, component(tenant, names::WORKER)];
    from.extend(tenant.network.allow_from.iter().map(peer));
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(tenant, names::REDIS)),
        policy_types: Some(vec!["Ingress".into()]),
        ingress: Some(vec![NetworkPolicyIngressRule {
            from: Some(from),
            ports: Some(vec![port(names::REDIS_PORT, "TCP")]),
        }]),
        egress: None,
    };
    build(tenant, names::REDIS, Some(names::REDIS), spec)
}

/// The worker reaches its Redis, name servers, the peers of the spec, and the collector of traces where there is one.
pub(super) fn worker(tenant: &ValidTenant, settings: &Settings) -> Object {
    let mut egress = vec![
        NetworkPolicyEgressRule {
            to: Some(vec![component(tenant, names::REDIS)]),
            ports: Some(vec![port(names::REDIS_PORT, "TCP")]),
        },
        // To wherever the cluster has its name servers: pods, a cache on the node, or outside.
        NetworkPolicyEgressRule { to: None, ports: Some(vec![port(53, "UDP"), port(53, "TCP")]) },
    ];
    egress.extend(tenant.network.allow_egress.iter().map(|allowed| {
        let ports: Vec<_> = allowed.ports.iter().map(|it| port(it.port, it.protocol.as_str())).collect();
        NetworkPolicyEgressRule {
            to: Some(vec![peer(&allowed.peer())]),
            ports: (!ports.is_empty()).then_some(ports),
        }
    }));
    egress.extend(settings.tracing.iter().flat_map(|tracing| tracing.egress.0.clone()));
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(tenant, names::WORKER)),
        policy_types: Some(vec!["Egress".into()]),
        ingress: None,
        egress: Some(egress),
    };
    build(tenant, names::WORKER, Some(names::WORKER), spec)
}

fn build(tenant: &ValidTenant, name: &str, component: Option<&str>, spec: NetworkPolicySpec) -> Object {
    let namespace = names::namespace(&tenant.name);
    let metadata = owned(tenant, &namespace, name, component);
    object(Kind::NetworkPolicy, &NetworkPolicy { metadata, spec: Some(spec) })
}

fn selector(tenant: &ValidTenant, component: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(&tenant.name, component)), ..LabelSelector::default() }
}

/// Pods of a component in the tenant's own namespace.
fn component(tenant: &ValidTenant, component: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(selector(tenant, component)), ..NetworkPolicyPeer::default() }
}

fn peer(peer: &Peer) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: peer.ip_block.clone(),
        namespace_selector: peer.namespace_selector.clone(),
        pod_selector: peer.pod_selector.clone(),
    }
}

fn labels<const N: usize>(labels: [(&str, &str); N]) -> LabelSelector {
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    LabelSelector { match_labels: Some(labels.into()), ..LabelSelector::default() }
}

fn port(number: i32, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}
