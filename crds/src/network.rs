//! `spec.network`: who may reach the tenant's Redis, and what its worker may reach, beside what always may.

use k8s_openapi::{api::networking::v1::IPBlock, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Further peers in the tenant's NetworkPolicies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// Peers that may open Redis' port, beside the gateway and the tenant's own worker. They log in with what the Secret redis-app
    /// in the tenant's namespace holds, which is there while this names anybody: for keys and channels that begin with app: alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allow_from: Vec<Peer>,
    /// Peers that the worker may open, beside DNS and its own Redis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allow_egress: Vec<EgressPeer>,
}

/// A peer as in NetworkPolicy: pods, all pods of namespaces, or addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))")
        .message("a peer has either ipBlock or selectors (podSelector, namespaceSelector, or both): give one of the two kinds"),
    validation = Rule::new("!has(self.ipBlock) || isCIDR(self.ipBlock.cidr)")
        .message("ipBlock.cidr is no address range: write one such as 10.1.0.0/16 or 2001:db8::/32"),
)]
pub struct Peer {
    /// Addresses outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "ip_block")]
    pub ip_block: Option<IPBlock>,
    /// Namespaces by label; {} is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Pods by label, in the namespaces selected, else in the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}

/// A peer that the worker may open, and at which ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))")
        .message("a peer has either ipBlock or selectors (podSelector, namespaceSelector, or both): give one of the two kinds"),
    validation = Rule::new("!has(self.ipBlock) || isCIDR(self.ipBlock.cidr)")
        .message("ipBlock.cidr is no address range: write one such as 10.1.0.0/16 or 2001:db8::/32"),
)]
pub struct EgressPeer {
    /// Addresses outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "ip_block")]
    pub ip_block: Option<IPBlock>,
    /// Namespaces by label; {} is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Pods by label, in the namespaces selected, else in the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// All ports when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ports: Vec<EgressPort>,
}

impl EgressPeer {
    /// The peer without its ports.
    pub fn peer(&self) -> Peer {
        Peer {
            ip_block: self.ip_block.clone(),
            namespace_selector: self.namespace_selector.clone(),
            pod_selector: self.pod_selector.clone(),
        }
    }
}

/// A port of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressPort {
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// TCP when left out.
    #[serde(default, skip_serializing_if = "Protocol::is_usual")]
    pub protocol: Protocol,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    #[default]
    TCP,
    UDP,
    SCTP,
}

impl Protocol {
    /// For `serde`, whose signature this is: what is usual is not filled in.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// As in NetworkPolicy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TCP => "TCP",
            Self::UDP => "UDP",
            Self::SCTP => "SCTP",
        }
    }
}

/// The same type with bounds, which the cost of the rules above is reckoned from.
fn ip_block(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "required": ["cidr"],
        "properties": {
            "cidr": { "type": "string", "maxLength": 64 },
            "except": { "type": "array", "maxItems": 32, "items": { "type": "string", "maxLength": 64 } },
        },
    })
}
