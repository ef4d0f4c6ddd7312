//! Every object that a tenant is made of. Pure: no client, no clock, the same output for the same input. A file per kind.

mod app;
pub mod cluster;
mod config_map;
mod deployment;
mod horizontal_pod_autoscaler;
mod job;
mod namespace;
mod network_policy;
mod pod;
mod pod_disruption_budget;
mod redis_pod;
pub mod replicated;
mod route;
mod secret;
mod service;
mod service_account;
mod stateful_set;
mod tls;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use keystead_crds::Topology;
use keystead_route::{Endpoint, TenantName, hex};
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

pub use config_map::{LIVE, MEMBERS};
pub use namespace::TENANT_ANNOTATION;
pub use tls::{REDIS_CONF as TLS_CONF, SCRIPT as TLS_SCRIPT};

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
    /// Addresses of the Services by which Redis is reached, as far as they are known, see [`services`].
    pub addresses: &'a [(String, String)],
    /// Address of the Service of the readers.
    pub readers_ip: Option<&'a str>,
    /// `spec` of each StatefulSet of Redis that is there, by name: parts of it cannot be changed.
    pub redis_sets: &'a [(&'a str, &'a Value)],
    /// The authorities to trust, as PEM, where Redis has its certificate.
    pub tls: Option<&'a str>,
    /// Until when gateways let requests wait for a Redis that is restarted; none: it is not.
    pub restarts_until: Option<Timestamp>,
}

impl Known<'_> {
    /// Whether Redis can be started and reached as it is wanted.
    pub fn is_secured(&self) -> bool {
        self.tenant.redis.tls.is_none() || self.tls.is_some()
    }

    /// How gateway and worker reach Redis; none while an address is missing.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let wanted = services(self.tenant);
        let of = |port: i32| -> Option<Vec<String>> {
            let address = |service: &String| {
                let (_, ip) = self.addresses.iter().find(|(name, _)| name == service)?;
                Some(address(ip, port))
            };
            wanted.iter().map(address).collect()
        };
        let mut members = of(names::REDIS_PORT)?;
        let readers = match (&self.tenant.readers, self.readers_ip) {
            (Some(_), ip) => Some(address(ip?, names::REDIS_PORT)),
            (None, _) => None,
        };
        Some(match self.tenant.redis.topology() {
            Topology::Standalone => Endpoint::Standalone { address: members.pop()? },
            Topology::Replicated => Endpoint::Replicated {
                primary_name: names::PRIMARY.into(),
                sentinels: of(names::SENTINEL_PORT)?,
                members,
                readers,
            },
            Topology::Cluster => {
                let of_each = self.tenant.redis.shards().map_or(1, |it| usize::from(it.replicas) + 1);
                Endpoint::Cluster { shards: members.chunks(of_each).map(<[String]>::to_vec).collect() }
            }
        })
    }
}

/// The Services by which Redis is reached: one for each, whose address never changes.
pub fn services(tenant: &ValidTenant) -> Vec<String> {
    match tenant.redis.topology() {
        Topology::Standalone => vec![names::REDIS.to_owned()],
        Topology::Replicated | Topology::Cluster => tenant.redis.pods(),
    }
}

/// The Job that distributes the data over the shards, where there are any.
pub fn reshape(tenant: &ValidTenant) -> Option<Object> {
    tenant.redis.shards().map(|shards| job::reshape(tenant, shards))
}

/// Every object of the tenant that can be built from what is known.
pub fn build(known: &Known<'_>) -> Vec<Object> {
    let tenant = known.tenant;
    let mut objects = vec![
        namespace::build(tenant),
        service_account::build(tenant, names::REDIS),
        service_account::build(tenant, names::WORKER),
        service::client(tenant),
        service::headless(tenant),
        network_policy::default_deny(tenant),
        network_policy::redis(tenant, known.settings),
        network_policy::worker(tenant, known.settings),
        secret::credentials(tenant),
    ];
    objects.extend(pod_disruption_budget::redis(tenant));
    if tenant.redis.has_members() {
        objects.extend(tenant.redis.pods().iter().map(|pod| service::member(tenant, pod)));
    }
    if tenant.redis.shards().is_some() {
        objects.push(network_policy::reshape(tenant));
    }
    objects.extend(tls::secrets(tenant));
    objects.extend(horizontal_pod_autoscaler::worker(tenant));
    if tenant.readers.is_some() {
        objects.push(service::readers(tenant));
        objects.push(network_policy::readers(tenant, known.settings));
        objects.push(pod_disruption_budget::build(tenant, names::REDIS_READERS));
        objects.extend(horizontal_pod_autoscaler::readers(tenant));
    }
    if tenant.worker.replicas.most() > 1 {
        objects.push(pod_disruption_budget::build(tenant, names::WORKER));
    }
    let Some(endpoint) = known.endpoint() else { return objects };
    objects.push(config_map::build(tenant, known.addresses));
    if let Some(credentials) = known.credentials.filter(|_| known.is_secured()) {
        objects.push(secret::redis_users(tenant, credentials));
        objects.extend(stateful_set::build(tenant, known.addresses, known.redis_sets));
        if tenant.readers.is_some() {
            objects.push(stateful_set::readers(tenant, known.addresses));
        }
        let ca = known.tls.filter(|_| tenant.redis.tls.is_some());
        objects.push(deployment::build(tenant, known.settings, credentials, &endpoint, ca));
        let restarts = known.restarts_until;
        objects.push(route::build(tenant, known.settings, credentials, &endpoint, ca, restarts));
        objects.extend(app::build(tenant, credentials, &endpoint, ca));
    }
    objects
}

/// What stays of a tenant that is deleted with its data retained.
pub fn retained(namespace: &str) -> Vec<Key> {
    let secret =
        |name: &str| Key { kind: Kind::Secret, namespace: namespace.to_owned(), name: name.to_owned() };
    vec![
        Key { kind: Kind::Namespace, namespace: String::new(), name: namespace.to_owned() },
        secret(names::CREDENTIALS),
        secret(names::REDIS_CA),
        secret(names::REDIS_TLS),
    ]
}

/// `host:port`; an IPv6 address in brackets.
pub fn address(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
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

/// The same object with other files.
pub fn with_files(object: &Object, files: Value) -> Object {
    let mut body = object.body.clone();
    body["data"] = files;
    if let Some(annotations) = body["metadata"]["annotations"].as_object_mut() {
        annotations.remove(names::APPLIED_ANNOTATION);
    }
    self::object(object.key.kind, &body)
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

/// The size that the volume claims ought to have.
pub fn wanted_claims(tenant: &ValidTenant) -> Vec<(Key, String)> {
    let Storage::Volume { size, .. } = &tenant.redis.storage else { return Vec::new() };
    let claim = |pod: &String| {
        let key = Key {
            kind: Kind::PersistentVolumeClaim,
            namespace: names::namespace(&tenant.name),
            name: names::claim(pod),
        };
        (key, size.0.clone())
    };
    tenant.redis.pods().iter().map(claim).collect()
}

#[cfg(test)]
mod tests;
