//! From policies, pods and namespaces to one nftables table. No I/O.
//!
//! A pod that a policy selects has a chain for each direction of that policy: what a rule allows returns from it, the
//! rest is dropped. Traffic between pods passes the forward hook, that to the node the input hook; the node's own
//! traffic to pods passes neither and is always allowed, as kubelets need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::Ipv4Addr,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Pod},
        networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt as _;

use crate::selector::{Labels, selects};

const TABLE: &str = "inet keystead_netpol";

/// All that the table follows from.
pub(crate) struct World {
    pub(crate) policies: Vec<Arc<NetworkPolicy>>,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) namespaces: Vec<Arc<Namespace>>,
    /// The cluster's DNS runs on the node: on port 53 its address counts as a pod of kube-system with the label
    /// k8s-app=kube-dns.
    pub(crate) dns: Ipv4Addr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

/// Somebody at the other end: a pod, or the cluster's DNS.
struct End {
    address: String,
    namespace: String,
    labels: Labels,
    /// Name, protocol, number.
    ports: Vec<(String, String, i32)>,
    only_dns: bool,
}

/// The whole table as nft reads it, replacing the one before.
pub(crate) fn table(world: &World) -> String {
    let ends = ends(world);
    let namespaces: BTreeMap<String, Labels> =
        world.namespaces.iter().map(|namespace| (namespace.name_any(), namespace.labels().clone())).collect();
    let mut policies = world.policies.clone();
    policies.sort_by_key(|policy| (policy.namespace(), policy.name_any()));

    let (mut chains, mut out, mut into) = (String::new(), String::new(), String::new());
    for (number, pod) in ends.iter().enumerate().filter(|(_, end)| !end.only_dns) {
        for (direction, jumps) in [(Direction::Egress, &mut out), (Direction::Ingress, &mut into)] {
            let selecting: Vec<_> =
                policies.iter().filter(|policy| isolates(policy, pod, direction)).collect();
            if selecting.is_empty() {
                continue;
            }
            let (name, side) =
                if direction == Direction::Egress { ("out", "saddr") } else { ("in", "daddr") };
            let _ = writeln!(jumps, "    ip {side} {} jump {name}_{number}", pod.address);
            let _ = writeln!(chains, "  chain {name}_{number} {{");
            let mut lines = BTreeSet::new();
            for policy in selecting {
                allow(policy, pod, direction, &ends, &namespaces, &mut lines);
            }
            for line in lines {
                let _ = writeln!(chains, "    {line} return");
            }
            chains.push_str("    drop\n  }\n");
        }
    }
    format!(
        "table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n{chains}  chain forward {{\n    \
         type filter hook forward priority 10; policy accept;\n    ct state established,related accept\n{out}{into}  }}\n  \
         chain input {{\n    type filter hook input priority 10; policy accept;\n    ct state established,related accept\n{out}  }}\n}}\n"
    )
}

fn ends(world: &World) -> Vec<End> {
    let mut ends: Vec<End> = world.pods.iter().filter_map(|pod| end(pod)).collect();
    ends.sort_by(|a, b| a.address.cmp(&b.address));
    ends.push(End {
        address: world.dns.to_string(),
        namespace: "kube-system".into(),
        labels: [("k8s-app".to_owned(), "kube-dns".to_owned())].into(),
        ports: vec![("dns".into(), "UDP".into(), 53), ("dns-tcp".into(), "TCP".into(), 53)],
        only_dns: true,
    });
    ends
}

/// None for a pod that has no address of its own, or not any more.
fn end(pod: &Pod) -> Option<End> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if spec.host_network == Some(true) || ended {
        return None;
    }
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    Some(End {
        address: status.pod_ip.clone().filter(|address| address.parse::<Ipv4Addr>().is_ok())?,
        namespace: pod.namespace()?,
        labels: pod.labels().clone(),
        ports: ports
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
                Some((port.name.clone()?, protocol, port.container_port))
            })
            .collect(),
        only_dns: false,
    })
}

/// Whether the policy selects the pod and speaks of the direction.
fn isolates(policy: &NetworkPolicy, pod: &End, direction: Direction) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let speaks = match direction {
        Direction::Ingress => types.is_empty() || types.iter().any(|word| word == "Ingress"),
        Direction::Egress => {
            (types.is_empty() && spec.egress.is_some()) || types.iter().any(|word| word == "Egress")
        }
    };
    speaks
        && policy.namespace().as_deref() == Some(pod.namespace.as_str())
        && spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, &pod.labels))
}

/// Peers and ports of a rule.
type Rule<'a> = (Option<&'a Vec<NetworkPolicyPeer>>, Option<&'a Vec<NetworkPolicyPort>>);

/// Adds a match for each thing that the policy allows the pod.
fn allow(
    policy: &NetworkPolicy,
    pod: &End,
    direction: Direction,
    ends: &[End],
    namespaces: &BTreeMap<String, Labels>,
    lines: &mut BTreeSet<String>,
) {
    let Some(spec) = &policy.spec else { return };
    let rules: Vec<Rule<'_>> = match direction {
        Direction::Ingress => {
            spec.ingress.iter().flatten().map(|rule| (rule.from.as_ref(), rule.ports.as_ref())).collect()
        }
        Direction::Egress => {
            spec.egress.iter().flatten().map(|rule| (rule.to.as_ref(), rule.ports.as_ref())).collect()
        }
    };
    let side = if direction == Direction::Egress { "daddr" } else { "saddr" };
    for (peers, ports) in rules {
        // No list, or an empty one: everybody.
        let Some(peers) = peers.filter(|peers| !peers.is_empty()) else {
            lines.extend(port_matches(ports, (direction == Direction::Ingress).then_some(pod)));
            continue;
        };
        for peer in peers {
            if let Some(block) = &peer.ip_block {
                // Pods have IPv4 addresses only: a block of another family holds none of them.
                if block.cidr.contains(':') {
                    continue;
                }
                let mut except = String::new();
                for cidr in block.except.iter().flatten() {
                    let _ = write!(except, " ip {side} != {cidr}");
                }
                let matches = port_matches(ports, (direction == Direction::Ingress).then_some(pod));
                lines.extend(
                    matches.into_iter().map(|port| format!("ip {side} {}{except} {port}", block.cidr)),
                );
                continue;
            }
            for end in ends.iter().filter(|end| is_peer(peer, end, pod, namespaces)) {
                let target = if direction == Direction::Ingress { pod } else { end };
                let only = if end.only_dns { " th dport 53" } else { "" };
                let matches = port_matches(ports, Some(target));
                lines.extend(
                    matches.into_iter().map(|port| format!("ip {side} {}{only} {port}", end.address)),
                );
            }
        }
    }
}

fn is_peer(peer: &NetworkPolicyPeer, end: &End, pod: &End, namespaces: &BTreeMap<String, Labels>) -> bool {
    let nothing = Labels::new();
    let of_namespace = match &peer.namespace_selector {
        Some(selector) => selects(selector, namespaces.get(&end.namespace).unwrap_or(&nothing)),
        None => end.namespace == pod.namespace,
    };
    of_namespace && peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, &end.labels))
}

/// The ports as matches; one empty match for all ports. A name means what the target calls so.
fn port_matches(ports: Option<&Vec<NetworkPolicyPort>>, target: Option<&End>) -> Vec<String> {
    let Some(ports) = ports.filter(|ports| !ports.is_empty()) else { return vec![String::new()] };
    let mut matches = Vec::new();
    for port in ports {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        let word = protocol.to_lowercase();
        match (&port.port, port.end_port) {
            (None, _) => matches.push(format!("meta l4proto {word}")),
            (Some(IntOrString::Int(first)), Some(last)) => {
                matches.push(format!("{word} dport {first}-{last}"));
            }
            (Some(IntOrString::Int(number)), None) => matches.push(format!("{word} dport {number}")),
            (Some(IntOrString::String(name)), _) => {
                let named = target.into_iter().flat_map(|target| &target.ports);
                let named = named.filter(|(known, of, _)| known == name && *of == protocol);
                matches.extend(named.map(|(_, _, number)| format!("{word} dport {number}")));
            }
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn pod(namespace: &str, app: &str, address: &str) -> Arc<Pod> {
        Arc::new(
            from_value(json!({
                "metadata": {"name": app, "namespace": namespace, "labels": {"app": app}},
                "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
                "status": {"podIP": address, "phase": "Running"},
            }))
            .unwrap(),
        )
    }

    fn world(policies: Vec<Value>) -> World {
        let namespaces = ["red", "blue", "kube-system"].iter().map(|name| {
            Arc::new(from_value(json!({"metadata": {"name": name, "labels": {"name": name}}})).unwrap())
        });
        World {
            policies: policies
                .into_iter()
                .map(|spec| {
                    Arc::new(
                        from_value(json!({"metadata": {"name": "p", "namespace": "red"}, "spec": spec}))
                            .unwrap(),
                    )
                })
                .collect(),
            pods: vec![
                pod("red", "db", "10.0.0.2"),
                pod("red", "web", "10.0.0.3"),
                pod("blue", "web", "10.0.0.4"),
            ],
            namespaces: namespaces.collect(),
            dns: Ipv4Addr::new(10, 0, 0, 1),
        }
    }

    /// The lines of a chain without its braces.
    fn chain(table: &str, name: &str) -> Vec<String> {
        let begin = format!("  chain {name} {{\n");
        let Some((_, rest)) = table.split_once(&begin) else { return Vec::new() };
        rest.split_once("  }").unwrap().0.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn without_policies_nothing_is_dropped() {
        assert!(!table(&world(vec![])).contains("drop"));
    }

    #[test]
    fn a_selected_pod_is_closed_in_the_directions_that_the_policy_names() {
        let closed = table(&world(vec![
            json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress", "Egress"]}),
        ]));
        assert_eq!(chain(&closed, "in_0"), ["drop"]);
        assert_eq!(chain(&closed, "out_0"), ["drop"]);
        assert!(chain(&closed, "in_1").is_empty(), "another pod is not selected");
        // What leaves a pod for the node itself passes the input hook.
        assert!(chain(&closed, "input").contains(&"ip saddr 10.0.0.2 jump out_0".to_owned()));
        assert!(chain(&closed, "forward").contains(&"ip daddr 10.0.0.2 jump in_0".to_owned()));
        let ingress_only = table(&world(vec![json!({"podSelector": {}})]));
        assert!(chain(&ingress_only, "out_0").is_empty());
    }

    #[test]
    fn peers_are_of_the_own_namespace_unless_one_is_named() {
        let rule = |from: Value| {
            let policy = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [from], "ports": [{"port": 6379}]}]});
            chain(&table(&world(vec![policy])), "in_0")
        };
        let own = rule(json!({"podSelector": {"matchLabels": {"app": "web"}}}));
        assert_eq!(own, ["ip saddr 10.0.0.3 tcp dport 6379 return", "drop"]);
        let both = rule(
            json!({"podSelector": {"matchLabels": {"app": "web"}}, "namespaceSelector": {"matchExpressions": [{"key": "name", "operator": "In", "values": ["blue"]}]}}),
        );
        assert_eq!(both, ["ip saddr 10.0.0.4 tcp dport 6379 return", "drop"]);
        let block = rule(json!({"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.3/32"]}}));
        assert_eq!(block, ["ip saddr 10.0.0.0/24 ip saddr != 10.0.0.3/32 tcp dport 6379 return", "drop"]);
    }

    #[test]
    fn dns_is_reached_on_its_port_only() {
        let policy = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"namespaceSelector": {"matchLabels": {"name": "kube-system"}}}], "ports": [{"protocol": "UDP", "port": 53}]},
            {"to": [{"namespaceSelector": {"matchLabels": {"name": "kube-system"}}}]}]});
        let lines = chain(&table(&world(vec![policy])), "out_0");
        assert_eq!(
            lines,
            [
                "ip daddr 10.0.0.1 th dport 53  return",
                "ip daddr 10.0.0.1 th dport 53 udp dport 53 return",
                "drop"
            ]
        );
    }

    #[test]
    fn ports_have_names_and_ranges_and_protocols() {
        let policy = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": "web"}, {"port": "unknown"}, {"port": 100, "endPort": 200, "protocol": "UDP"}, {"protocol": "SCTP"}]}]});
        let lines = chain(&table(&world(vec![policy])), "in_0");
        assert_eq!(
            lines,
            ["meta l4proto sctp return", "tcp dport 8080 return", "udp dport 100-200 return", "drop"]
        );
        let open = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"], "ingress": [{}]});
        assert_eq!(chain(&table(&world(vec![open])), "in_0"), [" return".trim(), "drop"]);
    }
}
