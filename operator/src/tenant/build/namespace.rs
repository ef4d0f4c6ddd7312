//! The tenant's namespace, in which Pod Security admits only restricted pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;

use super::{Object, object, unowned};
use crate::{
    kinds::Kind,
    tenant::{accepted, names, validate::ValidTenant},
};

/// Says whose namespace it is, also when its labels were changed: one without it is never taken over.
pub const TENANT_ANNOTATION: &str = "keystead.io/tenant";

/// Nobody's but the deletion policy's to remove: it has no owner.
pub(super) fn build(tenant: &ValidTenant) -> Object {
    let mut metadata = unowned(&tenant.name, None, &names::namespace(&tenant.name), None);
    let labels = metadata.labels.get_or_insert_default();
    for mode in ["enforce", "audit", "warn"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), "restricted".into());
    }
    let mut annotations = BTreeMap::from([(TENANT_ANNOTATION.to_owned(), tenant.name.to_string())]);
    // Empty where it is too large: one that was kept before must not stay.
    annotations.insert(accepted::ANNOTATION.to_owned(), tenant.accepted.clone().unwrap_or_default());
    metadata.annotations = Some(annotations);
    object(Kind::Namespace, &Namespace { metadata, ..Namespace::default() })
}
