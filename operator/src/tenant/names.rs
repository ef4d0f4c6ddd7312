//! Names, labels and ports of everything that is made for a tenant. No logic beyond putting names together.

use std::collections::BTreeMap;

use keystead_route::{TENANT_LABEL, TenantName};

pub const REDIS: &str = "redis";
pub const REDIS_HEADLESS: &str = "redis-headless";
pub const REDIS_CONFIG: &str = "redis-config";
pub const REDIS_USERS: &str = "redis-users";
pub const CREDENTIALS: &str = "credentials";
pub const WORKER: &str = "worker";
pub const DEFAULT_DENY: &str = "default-deny";
/// Name of the volume claim template; the claim of the first pod is `data-redis-0`.
pub const DATA: &str = "data";
/// The only pod of a Standalone tenant.
pub const FIRST_POD: &str = "redis-0";

pub const REDIS_PORT: i32 = 6379;
/// Health and metrics of the worker.
pub const WORKER_PORT: i32 = 9090;

pub const NAME_LABEL: &str = "app.kubernetes.io/name";
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
pub const PART_OF_LABEL: &str = "app.kubernetes.io/part-of";
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
pub const VERSION_LABEL: &str = "app.kubernetes.io/version";
pub const APPLICATION: &str = "keystead";

/// Hash of what was desired when an object was last written.
pub const APPLIED_ANNOTATION: &str = "keystead.io/applied";
/// Hash of the configuration that a pod was started with.
pub const CONFIG_ANNOTATION: &str = "keystead.io/config";

/// What the watches select: our own objects of tenants.
pub fn watch_selector() -> String {
    format!("{MANAGED_BY_LABEL}={},{TENANT_LABEL}", keystead_crds::FIELD_MANAGER)
}

/// The namespace of a tenant.
pub fn namespace(tenant: &TenantName) -> String {
    format!("tenant-{tenant}")
}

/// The volume claim of the first pod.
pub fn first_claim() -> String {
    format!("{DATA}-{FIRST_POD}")
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
    fn any_text_can_be_made_a_label_value() {
        assert_eq!(label_value("7.2"), "7.2");
        assert_eq!(label_value("sha256:0123abc"), "sha256-0123abc");
        assert_eq!(label_value("-x-"), "x");
        assert_eq!(label_value(&"a".repeat(80)).len(), 63);
    }
}
