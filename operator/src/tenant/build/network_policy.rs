//! The tenant's NetworkPolicies: everything is denied, then what is needed is allowed.

use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use keystead_crds::{Peer, Topology};
use keystead_route::{PUBLIC_IPV4, PUBLIC_IPV6, WebhookTarget, Webhooks};

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

/// Redis is reached by the gateway, the tenant's own worker, the peers of the spec, who have a user of their own there, and the
/// operator, which asks how it is; it reaches nobody. Members also reach each other, and what distributes the data over shards reaches them.
pub(super) fn redis(tenant: &ValidTenant, settings: &Settings) -> Object {
    let topology = tenant.redis.topology();
    let has_members = tenant.redis.has_members();
    let members = || component(tenant, names::REDIS);
    let mut from = vec![installed(settings, "gateway"), component(tenant, names::WORKER)];
    from.push(installed(settings, "operator"));
    if topology == Topology::Replicated {
        from.push(members());
    }
    if topology == Topology::Cluster {
        from.push(component(tenant, names::REDIS_RESHAPE));
    }
    if tenant.readers.is_some() {
        from.push(component(tenant, names::REDIS_READERS));
    }
    from.extend(tenant.network.allow_from.iter().map(peer));
    let mut ingress = vec![NetworkPolicyIngressRule { from: Some(from), ports: Some(redis_ports(tenant)) }];
    let mut among = redis_ports(tenant);
    if topology == Topology::Cluster {
        among.push(port(names::BUS_PORT, "TCP"));
        ingress.push(NetworkPolicyIngressRule { from: Some(vec![members()]), ports: Some(among.clone()) });
    }
    let egress = NetworkPolicyEgressRule { to: Some(vec![members()]), ports: Some(among) };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(tenant, names::REDIS)),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        ingress: Some(ingress),
        egress: Some(if has_members { vec![egress] } else { Vec::new() }),
    };
    build(tenant, names::REDIS, Some(names::REDIS), spec)
}

/// What distributes the data over shards reaches them, and nobody reaches it.
pub(super) fn reshape(tenant: &ValidTenant) -> Object {
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(tenant, names::REDIS_RESHAPE)),
        policy_types: Some(vec!["Egress".into()]),
        ingress: None,
        egress: Some(vec![NetworkPolicyEgressRule {
            to: Some(vec![component(tenant, names::REDIS)]),
            ports: Some(redis_ports(tenant)),
        }]),
    };
    build(tenant, names::REDIS_RESHAPE, Some(names::REDIS_RESHAPE), spec)
}

/// Readers are reached as Redis is, and reach the members.
pub(super) fn readers(tenant: &ValidTenant, settings: &Settings) -> Object {
    let mut from = vec![installed(settings, "gateway"), installed(settings, "operator")];
    from.extend(tenant.network.allow_from.iter().map(peer));
    let ports = vec![port(names::REDIS_PORT, "TCP")];
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(tenant, names::REDIS_READERS)),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        ingress: Some(vec![NetworkPolicyIngressRule { from: Some(from), ports: Some(ports) }]),
        egress: Some(vec![NetworkPolicyEgressRule {
            to: Some(vec![component(tenant, names::REDIS)]),
            ports: Some(redis_ports(tenant)),
        }]),
    };
    build(tenant, names::REDIS_READERS, Some(names::REDIS_READERS), spec)
}

/// The worker reaches its Redis, name servers, the peers and the targets of webhooks of the spec, and the collector of traces where
/// there is one.
pub(super) fn worker(tenant: &ValidTenant, settings: &Settings) -> Object {
    let mut egress = vec![
        NetworkPolicyEgressRule {
            to: Some(vec![component(tenant, names::REDIS)]),
            ports: Some(redis_ports(tenant)),
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
    egress.extend(webhooks(&tenant.worker.webhooks));
    egress.extend(settings.tracing.iter().flat_map(|tracing| tracing.egress.0.clone()));
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(tenant, names::WORKER)),
        policy_types: Some(vec!["Egress".into()]),
        ingress: None,
        egress: Some(egress),
    };
    build(tenant, names::WORKER, Some(names::WORKER), spec)
}

/// Of the hosts that the spec names a policy can only tell the addresses: those that are named with them, else all public ones.
fn webhooks(webhooks: &Webhooks) -> Vec<NetworkPolicyEgressRule> {
    let block = |cidr: &IpNet, except: &[IpNet]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_string(),
            except: (!except.is_empty()).then(|| except.iter().map(ToString::to_string).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    let rule = |target: &WebhookTarget| NetworkPolicyEgressRule {
        to: Some(if target.addresses.is_empty() {
            vec![block(&PUBLIC_IPV4.0, &PUBLIC_IPV4.1), block(&PUBLIC_IPV6.0, &PUBLIC_IPV6.1)]
        } else {
            target.addresses.iter().map(|range| block(range, &[])).collect()
        }),
        ports: Some(target.ports.iter().map(|number| port((*number).into(), "TCP")).collect()),
    };
    let mut rules = Vec::new();
    for rule in webhooks.0.iter().map(rule) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
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

/// Pods of a component of the installation itself.
fn installed(settings: &Settings, component: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(labels([(
            "kubernetes.io/metadata.name",
            settings.gateway_namespace.as_str(),
        )])),
        pod_selector: Some(labels([
            (names::NAME_LABEL, names::APPLICATION),
            (names::COMPONENT_LABEL, component),
        ])),
        ip_block: None,
    }
}

/// Of Redis, and of the Sentinels where there are any.
fn redis_ports(tenant: &ValidTenant) -> Vec<NetworkPolicyPort> {
    let sentinel = (tenant.redis.topology() == Topology::Replicated).then_some(names::SENTINEL_PORT);
    [names::REDIS_PORT].into_iter().chain(sentinel).map(|number| port(number, "TCP")).collect()
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
