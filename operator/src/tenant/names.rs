//! Names, labels and ports of everything that is made for a tenant. No logic beyond putting names together.

use std::collections::BTreeMap;

use keystead_route::{TENANT_LABEL, TenantName};

use crate::kinds::Kind;

pub const REDIS: &str = "redis";
pub const REDIS_HEADLESS: &str = "redis-headless";
pub const REDIS_READERS: &str = "redis-readers";
/// The Job that distributes the data of a Cluster tenant over its shards.
pub const REDIS_RESHAPE: &str = "redis-reshape";
pub const REDIS_CONFIG: &str = "redis-config";
pub const REDIS_USERS: &str = "redis-users";
/// How the tenant's own clients reach its Redis, and who they are there.
pub const REDIS_APP: &str = "redis-app";
pub const CREDENTIALS: &str = "credentials";
/// Who signs certificates, where nobody else does. No pod has it.
pub const REDIS_CA: &str = "redis-ca";
/// The certificate of all Redis and Sentinels of the tenant, and who is trusted.
pub const REDIS_TLS: &str = "redis-tls";
pub const WORKER: &str = "worker";
pub const DEFAULT_DENY: &str = "default-deny";
/// Name of the volume claim template; the claim of the first pod is `data-redis-0`.
pub const DATA: &str = "data";
/// The only pod of a Standalone tenant, and the first member of a Replicated one.
pub const FIRST_POD: &str = "redis-0";
/// Container beside each Redis of a Replicated tenant.
pub const SENTINEL: &str = "sentinel";
/// The name by which the Sentinels know the primary: the tenant's network is its own, so it needs no other.
pub const PRIMARY: &str = "primary";

/// Begins the name of a shard.
const SHARD: &str = "redis-shard-";

/// ACL user of the probes, and of the operator.
pub const MONITOR_USER: &str = "monitor";
/// ACL user of the tenant's own clients.
pub const APP_USER: &str = "app";

pub const REDIS_PORT: i32 = 6379;
/// On which the members of a Cluster tenant talk to each other.
pub const BUS_PORT: i32 = 16379;
pub const SENTINEL_PORT: i32 = 26379;
/// Health and metrics of the worker.
pub const WORKER_PORT: i32 = 9090;

pub const NAME_LABEL: &str = "app.kubernetes.io/name";
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
pub const PART_OF_LABEL: &str = "app.kubernetes.io/part-of";
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
pub const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// Number of the shard of a Cluster tenant.
pub const SHARD_LABEL: &str = "keystead.io/shard";
/// Number of a pod in its StatefulSet, of Kubernetes' own.
pub const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";
pub const APPLICATION: &str = "keystead";

/// Label of a tenant's figures, for Prometheus and as an external metric.
pub const METRIC_LABEL: &str = "tenant";

/// Hash of what was desired when an object was last written.
pub const APPLIED_ANNOTATION: &str = "keystead.io/applied";
/// Hash of the template of its pods, of a StatefulSet of Redis.
pub const TEMPLATE_ANNOTATION: &str = "keystead.io/template";
/// Hash of the configuration that a pod was started with.
pub const CONFIG_ANNOTATION: &str = "keystead.io/config";

/// What the watches select: our own objects of tenants; of pods, those of Redis and those that distribute its data.
pub fn watch_selector(kind: Kind) -> String {
    let ours = format!("{MANAGED_BY_LABEL}={},{TENANT_LABEL}", keystead_crds::FIELD_MANAGER);
    if kind == Kind::Pod { format!("{ours},{COMPONENT_LABEL} in ({REDIS},{REDIS_RESHAPE})") } else { ours }
}

/// What the name of a tenant's namespace begins with.
pub const NAMESPACE: &str = "tenant-";

/// The namespace of a tenant.
pub fn namespace(tenant: &TenantName) -> String {
    format!("{NAMESPACE}{tenant}")
}

/// The pod of a member, and its Service.
pub fn member(ordinal: u8) -> String {
    format!("{REDIS}-{ordinal}")
}

/// A shard of a Cluster tenant: its StatefulSet.
pub fn shard(shard: u8) -> String {
    format!("{SHARD}{shard}")
}

/// The pod of a member of a shard, and its Service.
pub fn shard_member(shard: u8, ordinal: u8) -> String {
    format!("{SHARD}{shard}-{ordinal}")
}

/// The number of the shard, of its name or that of one of its pods.
pub fn shard_of(name: &str) -> Option<u8> {
    name.strip_prefix(SHARD)?.split('-').next()?.parse().ok()
}

/// The volume claim of a pod of Redis.
pub fn claim(pod: &str) -> String {
    format!("{DATA}-{pod}")
}

/// Labels that select the pods of a component within the tenant's namespace.
pub fn selector(tenant: &TenantName, component: &str) -> BTreeMap<String, String> {
    [(NAME_LABEL, APPLICATION), (INSTANCE_LABEL, tenant.as_str()), (COMPONENT_LABEL, component)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Labels of an object; `component` where it belongs to one.
pub fn labels(tenant: &TenantName, component: Option<&str>) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = [
        (NAME_LABEL, APPLICATION),
        (INSTANCE_LABEL, tenant.as_str()),
        (PART_OF_LABEL, APPLICATION),
        (MANAGED_BY_LABEL, keystead_crds::FIELD_MANAGER),
        (TENANT_LABEL, tenant.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if let Some(component) = component {
        labels.insert(COMPONENT_LABEL.to_owned(), component.to_owned());
    }
    labels
}

/// Labels with that of a shard, where it is one.
pub fn in_shard(mut labels: BTreeMap<String, String>, shard: Option<u8>) -> BTreeMap<String, String> {
    labels.extend(shard.map(|shard| (SHARD_LABEL.to_owned(), shard.to_string())));
    labels
}

/// A text as a label's value: what is not allowed there becomes `-`, at most 63 characters.
pub fn label_value(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let value: String = text.chars().map(allowed).take(63).collect();
    value.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_known_by_its_name_and_by_that_of_its_pods() {
        assert_eq!(shard_of(&shard(7)), Some(7));
        assert_eq!(shard_of(&shard_member(12, 1)), Some(12));
        assert_eq!(shard_of(&member(0)), None);
    }

    #[test]
    fn any_text_can_be_made_a_label_value() {
        assert_eq!(label_value("7.2"), "7.2");
        assert_eq!(label_value("sha256:0123abc"), "sha256-0123abc");
        assert_eq!(label_value("-x-"), "x");
        assert_eq!(label_value(&"a".repeat(80)).len(), 63);
    }
}
