//! Every object that a tenant is made of. Pure: no client, no clock, the same output for the same input. A file per kind.

mod config_map;
mod deployment;
mod horizontal_pod_autoscaler;
mod namespace;
mod network_policy;
mod pod;
mod pod_disruption_budget;
mod route;
mod secret;
mod service;
mod service_account;
mod stateful_set;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keystead_route::{TenantName, hex};
use kube::Resource;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    credentials::Credentials,
    names,
    validate::{Storage, ValidTenant},
};
use crate::{cache::Key, kinds::Kind, settings::Settings};

pub use namespace::TENANT_ANNOTATION;

/// An object as it is wanted.
#[derive(Clone, PartialEq)]
pub struct Object {
    pub key: Key,
    /// What is sent by server-side apply.
    pub body: Value,
}

impl std::fmt::Debug for Object {
    /// It may be a Secret: shows only what it is.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.key)
    }
}

/// What is known when the objects are built. What needs something that is not known yet is not built yet.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub tenant: &'a ValidTenant,
    pub settings: &'a Settings,
    pub credentials: Option<&'a Credentials>,
    /// Address of the Service `redis`.
    pub redis_ip: Option<&'a str>,
    /// `spec.volumeClaimTemplates` of the StatefulSet that is there: they cannot be changed.
    pub claim_templates: Option<&'a Value>,
}

/// Every object of the tenant that can be built from what is known.
pub fn build(known: &Known<'_>) -> Vec<Object> {
    let tenant = known.tenant;
    let mut objects = vec![
        namespace::build(tenant),
        service_account::build(tenant, names::REDIS),
        service_account::build(tenant, names::WORKER),
        config_map::build(tenant),
        service::client(tenant),
        service::headless(tenant),
        network_policy::default_deny(tenant),
        network_policy::redis(tenant, known.settings),
        network_policy::worker(tenant, known.settings),
        secret::credentials(tenant),
        pod_disruption_budget::build(tenant, names::REDIS),
    ];
    objects.extend(horizontal_pod_autoscaler::build(tenant));
    if tenant.worker.replicas.most() > 1 {
        objects.push(pod_disruption_budget::build(tenant, names::WORKER));
    }
    if let Some(credentials) = known.credentials {
        objects.push(secret::redis_users(tenant, credentials));
        objects.push(stateful_set::build(tenant, credentials, known.claim_templates));
        if let Some(ip) = known.redis_ip {
            let address = redis_address(ip);
            objects.push(deployment::build(tenant, known.settings, credentials, &address));
            objects.push(route::build(tenant, known.settings, credentials, &address));
        }
    }
    objects
}

/// What stays of a tenant that is deleted with its data retained.
pub fn retained(namespace: &str) -> Vec<Key> {
    vec![
        Key { kind: Kind::Namespace, namespace: String::new(), name: namespace.to_owned() },
        Key { kind: Kind::Secret, namespace: namespace.to_owned(), name: names::CREDENTIALS.to_owned() },
    ]
}

/// `host:port`; an IPv6 address in brackets.
fn redis_address(ip: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{}", names::REDIS_PORT)
    } else {
        format!("{ip}:{}", names::REDIS_PORT)
    }
}

/// Metadata of an object that goes with its Tenant.
fn owned(tenant: &ValidTenant, namespace: &str, name: &str, component: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        owner_references: Some(vec![OwnerReference {
            api_version: keystead_crds::Tenant::api_version(&()).into_owned(),
            kind: keystead_crds::Tenant::kind(&()).into_owned(),
            name: tenant.name.to_string(),
            uid: tenant.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..unowned(&tenant.name, Some(namespace), name, component)
    }
}

/// Metadata of an object that outlives its Tenant unless the deletion policy says otherwise.
fn unowned(tenant: &TenantName, namespace: Option<&str>, name: &str, component: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(ToOwned::to_owned),
        labels: Some(names::labels(tenant, component)),
        ..ObjectMeta::default()
    }
}

/// Puts an object into the form that is sent, with the hash of its contents.
fn object(kind: Kind, typed: &impl Serialize) -> Object {
    // Maps with string keys, lists and scalars: this cannot fail.
    let mut body = serde_json::to_value(typed).unwrap_or_default();
    let text = |field: &str| body["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = Key { kind, namespace: text("namespace"), name: text("name") };
    let hash = hash([body.to_string().as_bytes()]);
    let annotations = &mut body["metadata"]["annotations"];
    if annotations.is_null() {
        *annotations = json!({});
    }
    annotations[names::APPLIED_ANNOTATION] = json!(hash);
    Object { key, body }
}

/// 16 hexadecimal digits of a SHA-256, the parts kept apart.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    hex(&digest.finalize()[..8])
}

/// The size that the first volume claim ought to have.
pub fn wanted_claim(tenant: &ValidTenant) -> Option<(Key, String)> {
    match &tenant.redis.storage {
        Storage::Volume { size, .. } => {
            let key = Key {
                kind: Kind::PersistentVolumeClaim,
                namespace: names::namespace(&tenant.name),
                name: names::first_claim(),
            };
            Some((key, size.0.clone()))
        }
        Storage::Ephemeral => None,
    }
}

#[cfg(test)]
mod tests;
