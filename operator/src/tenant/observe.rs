//! What is there of a tenant, read from what the watches have brought. Asks the API server nothing.

use k8s_openapi::api::core::v1::NamespaceStatus;
use keystead_route::{TenantName, secret_name};
use serde_json::Value;

use super::{
    credentials::{self, Contents, Credentials, Needs},
    names,
};
use crate::{
    cache::{Cache, Key, Objects, Seen},
    kinds::Kind,
};

/// The objects of one tenant, with the questions that the pure steps ask of them.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub objects: Objects,
    namespace: String,
    route: Option<Key>,
}

impl Observed {
    pub fn of(cache: &Cache, tenant: &TenantName, gateway_namespace: &str) -> Self {
        Self::new(cache.of(tenant.as_str()), tenant, gateway_namespace)
    }

    pub fn new(objects: Objects, tenant: &TenantName, gateway_namespace: &str) -> Self {
        let route =
            Key { kind: Kind::Secret, namespace: gateway_namespace.to_owned(), name: secret_name(tenant) };
        Self { objects, namespace: names::namespace(tenant), route: Some(route) }
    }

    /// An object in the tenant's namespace.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Seen> {
        let key = Key { kind, namespace: self.namespace.clone(), name: name.to_owned() };
        self.by_key(&key)
    }

    pub fn by_key(&self, key: &Key) -> Option<&Seen> {
        self.objects.get(key).map(AsRef::as_ref)
    }

    pub fn namespace(&self) -> Option<&Seen> {
        let key = Key { kind: Kind::Namespace, namespace: String::new(), name: self.namespace.clone() };
        self.by_key(&key)
    }

    pub fn route(&self) -> Option<&Seen> {
        self.by_key(self.route.as_ref()?)
    }

    /// Whether the object is one of this tenant's: in its namespace, the namespace itself, or its route.
    pub fn is_ours(&self, key: &Key) -> bool {
        key.namespace == self.namespace
            || (key.kind == Kind::Namespace && key.name == self.namespace)
            || Some(key) == self.route.as_ref()
    }

    /// What the Secret `credentials` holds; `None` where there is no such Secret.
    pub fn credential_contents(&self) -> Option<Contents> {
        let secret = self.get(Kind::Secret, names::CREDENTIALS)?;
        Some(credentials::contents(secret.at("/data")))
    }

    pub fn credentials(&self, needs: Needs) -> Option<Credentials> {
        credentials::read(&self.credential_contents()?, needs)
    }

    /// Address of the Service `redis`.
    pub fn redis_ip(&self) -> Option<&str> {
        let ip = self.get(Kind::Service, names::REDIS)?.at("/spec/clusterIP")?.as_str()?;
        (!ip.is_empty() && ip != "None").then_some(ip)
    }

    pub fn claim_templates(&self) -> Option<&Value> {
        self.get(Kind::StatefulSet, names::REDIS)?.at("/spec/volumeClaimTemplates")
    }

    /// The version of Redis that is there already.
    pub fn provisioned_version(&self) -> Option<&str> {
        self.get(Kind::StatefulSet, names::REDIS)?.metadata("labels")?.get(names::VERSION_LABEL)?.as_str()
    }

    /// Pods of Redis that are ready.
    pub fn redis_ready(&self) -> i32 {
        self.count(Kind::StatefulSet, names::REDIS, "/status/readyReplicas")
    }

    /// Whether no pod of an earlier template is left. It may be away nevertheless.
    pub fn redis_is_rolled_out(&self) -> bool {
        let Some(set) = self.get(Kind::StatefulSet, names::REDIS) else { return false };
        Self::is_seen_by_its_controller(set)
            && set.at("/status/currentRevision") == set.at("/status/updateRevision")
    }

    /// What the Deployment's own condition says: enough pods are available.
    pub fn worker_is_available(&self) -> bool {
        let Some(deployment) = self.get(Kind::Deployment, names::WORKER) else { return false };
        let conditions = deployment.at("/status/conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().any(|it| it["type"] == "Available" && it["status"] == "True")
    }

    /// Pods that the worker ought to have now.
    pub fn worker_replicas(&self) -> i32 {
        self.count(Kind::Deployment, names::WORKER, "/spec/replicas")
    }

    /// Whether no pod of an earlier template is left.
    pub fn worker_is_rolled_out(&self) -> bool {
        let Some(deployment) = self.get(Kind::Deployment, names::WORKER) else { return false };
        let count = |pointer| self.count(Kind::Deployment, names::WORKER, pointer);
        Self::is_seen_by_its_controller(deployment)
            && count("/status/updatedReplicas") == count("/status/replicas")
    }

    /// Whether the claim waits for its volume.
    pub fn claim_is_pending(&self) -> bool {
        let claim = self.get(Kind::PersistentVolumeClaim, &names::first_claim());
        claim.is_some_and(|claim| claim.at("/status/phase").and_then(Value::as_str) == Some("Pending"))
    }

    /// Why a namespace that is being deleted is still there, in Kubernetes' words.
    pub fn namespace_waits_for(&self) -> String {
        let status = self.namespace().and_then(|it| it.at("/status")).cloned().unwrap_or_default();
        let status: NamespaceStatus = serde_json::from_value(status).unwrap_or_default();
        let reasons: Vec<String> = status
            .conditions
            .into_iter()
            .flatten()
            .filter(|it| it.status == "True")
            .filter_map(|it| it.message)
            .collect();
        reasons.join("; ")
    }

    /// Not so for a moment after our own write; later writes by an autoscaler do not count.
    fn is_seen_by_its_controller(seen: &Seen) -> bool {
        let observed = seen.at("/status/observedGeneration").and_then(Value::as_i64).unwrap_or_default();
        observed >= seen.applied_generation.unwrap_or(1)
    }

    fn count(&self, kind: Kind, name: &str, pointer: &str) -> i32 {
        let number = self.get(kind, name).and_then(|it| it.at(pointer)).and_then(Value::as_i64);
        number.and_then(|it| i32::try_from(it).ok()).unwrap_or_default()
    }
}
