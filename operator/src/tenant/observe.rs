//! What is there of a tenant, read from what the watches have brought. Asks the API server nothing.

mod version;

use std::collections::BTreeSet;

use k8s_openapi::{api::core::v1::NamespaceStatus, jiff::Timestamp};
use keystead_route::{TenantName, call_name, secret_name};
use serde_json::Value;

use super::{
    certificates::{Authority, Issued},
    credentials::{self, Contents, Credentials, Needs, Outside},
    members::{self, Member, Says, cluster},
    names,
    rollout::{
        members::{MemberState, Pod, Role},
        restart,
    },
    rotation::{self, SINCE_ANNOTATION, Stage},
    sleep::{self, Calls, Idle, Sleep},
};
use crate::{
    cache::{Cache, Key, Objects, Seen},
    kinds::Kind,
    usage::Demand,
};

/// The objects of one tenant, with the questions that the pure steps ask of them.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub objects: Objects,
    /// The Redis of the tenant, where they were asked.
    pub members: Vec<Member>,
    /// The passwords, where somebody else keeps them.
    pub outside: Option<Result<Outside, String>>,
    /// The key that signs tokens, where somebody else keeps that.
    pub outside_key: Option<Result<Outside, String>>,
    /// Who signs certificates, where somebody else keeps that.
    pub authority: Option<Result<Authority, String>>,
    /// What its Redis says of its idleness, where it was asked.
    pub idle: Option<Idle>,
    /// What there is to do for the workers, where that was seen lately.
    pub demand: Option<Demand>,
    namespace: String,
    route: Option<Key>,
    /// What gateways make where somebody wants the tenant that sleeps, and has shown that they may, or has not.
    calls: [Option<Key>; 2],
}

impl Observed {
    pub fn of(cache: &Cache, tenant: &TenantName, gateway_namespace: &str) -> Self {
        Self::new(cache.of(tenant.as_str()), tenant, gateway_namespace)
    }

    pub fn new(objects: Objects, tenant: &TenantName, gateway_namespace: &str) -> Self {
        let route =
            Key { kind: Kind::Secret, namespace: gateway_namespace.to_owned(), name: secret_name(tenant) };
        let call = |is_proven| {
            let name = call_name(tenant, is_proven);
            Some(Key { kind: Kind::ConfigMap, namespace: gateway_namespace.to_owned(), name })
        };
        Self {
            objects,
            members: Vec::new(),
            outside: None,
            outside_key: None,
            authority: None,
            idle: None,
            calls: [call(true), call(false)],
            demand: None,
            namespace: names::namespace(tenant),
            route: Some(route),
        }
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

    /// Whether the object is one of this tenant's: in its namespace, the namespace itself, its route, or a call.
    pub fn is_ours(&self, key: &Key) -> bool {
        key.namespace == self.namespace
            || (key.kind == Kind::Namespace && key.name == self.namespace)
            || Some(key) == self.route.as_ref()
            || self.is_call(key)
    }

    /// Whether it is what a gateway makes where somebody wants the tenant that sleeps.
    pub fn is_call(&self, key: &Key) -> bool {
        self.calls.iter().flatten().any(|call| call == key)
    }

    /// Who wants the tenant that sleeps.
    pub fn calls(&self) -> Calls {
        let is_there = |key: &Option<Key>| key.as_ref().is_some_and(|key| self.by_key(key).is_some());
        Calls { proven: is_there(&self.calls[0]), owed: is_there(&self.calls[1]) }
    }

    /// Whether it sleeps, as it was decided last; none: that was never a question.
    pub fn sleep(&self) -> Option<Sleep> {
        let text = self.route()?.metadata("annotations")?.get(sleep::ANNOTATION)?.as_str()?;
        serde_json::from_str(text).ok()
    }

    /// Until when gateways let requests wait for a Redis that is restarted, as they were told.
    pub fn restarts_until(&self) -> Option<Timestamp> {
        self.route()?.metadata("annotations")?.get(restart::ANNOTATION)?.as_str()?.parse().ok()
    }

    /// Whether no pod of the worker is left, but for those that end.
    pub fn worker_is_away(&self) -> bool {
        let Some(deployment) = self.get(Kind::Deployment, names::WORKER) else { return true };
        let pods = self.count(Kind::Deployment, names::WORKER, "/status/replicas");
        Self::is_seen_by_its_controller(deployment)
            && self.replicas(Kind::Deployment, names::WORKER) == 0
            && pods == 0
    }

    /// Whether no pod of Redis is left.
    pub fn redis_is_away(&self) -> bool {
        self.sets_of_redis().all(|set| {
            Self::is_seen_by_its_controller(set)
                && self.count(Kind::StatefulSet, &set.key.name, "/status/replicas") == 0
        })
    }

    /// What the Secret `credentials` holds; `None` where there is no such Secret.
    pub fn credential_contents(&self) -> Option<Contents> {
        let secret = self.get(Kind::Secret, names::CREDENTIALS)?;
        Some(credentials::contents(secret.at("/data")))
    }

    /// How far a rotation of its passwords is.
    pub fn rotation(&self) -> Stage {
        self.credential_contents().map_or(Stage::Idle, |contents| rotation::stage(&contents))
    }

    /// The same of its signing key.
    pub fn signing_rotation(&self) -> Stage {
        self.credential_contents().map_or(Stage::Idle, |contents| rotation::signing::stage(&contents))
    }

    /// An annotation of that Secret.
    pub fn credentials_annotation(&self, name: &str) -> Option<&str> {
        self.get(Kind::Secret, names::CREDENTIALS)?.metadata("annotations")?.get(name)?.as_str()
    }

    /// When its passwords last took the place of others, or were made.
    pub fn passwords_since(&self) -> Option<Timestamp> {
        self.since(SINCE_ANNOTATION)
    }

    /// The same of its signing key.
    pub fn signing_since(&self) -> Option<Timestamp> {
        self.since(rotation::signing::SINCE_ANNOTATION)
    }

    fn since(&self, annotation: &str) -> Option<Timestamp> {
        let made = || self.get(Kind::Secret, names::CREDENTIALS)?.metadata("creationTimestamp")?.as_str();
        self.credentials_annotation(annotation).or_else(made)?.parse().ok()
    }

    pub fn credentials(&self, needs: Needs) -> Option<Credentials> {
        credentials::read(&self.credential_contents()?, needs)
    }

    /// The certificate of the tenant's Redis, where there is one that can be used.
    pub fn issued(&self) -> Option<Issued> {
        Issued::read(&credentials::contents(self.get(Kind::Secret, names::REDIS_TLS)?.at("/data")))
    }

    /// Those of these Services that have one, with their address.
    pub fn addresses(&self, services: &[String]) -> Vec<(String, String)> {
        let address = |name: &String| Some((name.clone(), self.service_ip(name)?.to_owned()));
        services.iter().filter_map(address).collect()
    }

    /// Address of the Service of the readers.
    pub fn readers_ip(&self) -> Option<&str> {
        self.service_ip(names::REDIS_READERS)
    }

    fn service_ip(&self, name: &str) -> Option<&str> {
        let ip = self.get(Kind::Service, name)?.at("/spec/clusterIP")?.as_str()?;
        (!ip.is_empty() && ip != "None").then_some(ip)
    }

    /// The StatefulSets of Redis: one, or one for each shard; not that of the readers.
    fn sets_of_redis(&self) -> impl Iterator<Item = &Seen> {
        let is_one = |it: &&Seen| {
            let name = it.key.name.as_str();
            let is_set = it.key.kind == Kind::StatefulSet && it.key.namespace == self.namespace;
            is_set && (name == names::REDIS || names::shard_of(name).is_some())
        };
        self.objects.values().map(AsRef::as_ref).filter(is_one)
    }

    /// Whether there are, or soon will be, pods of Redis.
    pub fn has_redis(&self) -> bool {
        self.sets_of_redis().next().is_some()
    }

    /// `spec` of each StatefulSet of Redis that is there, by name.
    pub fn redis_sets(&self) -> Vec<(&str, &Value)> {
        self.sets_of_redis().filter_map(|set| Some((set.key.name.as_str(), set.at("/spec")?))).collect()
    }

    /// Numbers of the shards beyond the first `wanted` of which something is left: a volume may hold a part of the data, also
    /// of an earlier Tenant.
    pub fn leaving(&self, wanted: u8) -> Vec<u8> {
        let sets = self.sets_of_redis().filter_map(|set| names::shard_of(&set.key.name));
        let numbers: BTreeSet<u8> = sets.chain(self.claims().map(|(shard, _)| shard)).collect();
        let is_gone = |shard| cluster::is_gone(&self.members, shard, |member| self.never_ran(&member.name));
        let left = |shard: &u8| *shard >= wanted && !is_gone(*shard);
        numbers.into_iter().filter(left).collect()
    }

    /// Whether a pod of Redis holds nothing as it was never started, nor one before it on its volume.
    fn never_ran(&self, pod: &str) -> bool {
        let phase = |kind, name: &str| {
            let seen = self.get(kind, name)?;
            Some(seen.at("/status/phase").and_then(Value::as_str).unwrap_or("Pending"))
        };
        let waits = |phase: Option<&str>| matches!(phase, None | Some("Pending"));
        waits(phase(Kind::Pod, pod)) && waits(phase(Kind::PersistentVolumeClaim, &names::claim(pod)))
    }

    /// The volume claims of shards that are not about to go, with the number of the shard.
    pub fn claims(&self) -> impl Iterator<Item = (u8, &Seen)> {
        let of_shard = |it: &Seen| {
            let pod = it.key.name.strip_prefix(names::DATA)?.strip_prefix('-')?;
            let is_claim = it.key.kind == Kind::PersistentVolumeClaim && it.key.namespace == self.namespace;
            names::shard_of(pod).filter(|_| is_claim && !it.is_terminating())
        };
        self.objects.values().filter_map(move |it| Some((of_shard(it)?, it.as_ref())))
    }

    /// Pods of Redis that are ready.
    pub fn redis_ready(&self) -> i32 {
        self.sets_of_redis()
            .map(|set| self.count(Kind::StatefulSet, &set.key.name, "/status/readyReplicas"))
            .sum()
    }

    /// Pods of the readers that are ready; none where there are to be none.
    pub fn readers_ready(&self) -> Option<i32> {
        self.get(Kind::StatefulSet, names::REDIS_READERS)?;
        Some(self.count(Kind::StatefulSet, names::REDIS_READERS, "/status/readyReplicas"))
    }

    /// The members as a rollout sees them; without those whose StatefulSet is not there yet, or was not seen by its controller.
    pub fn member_states(&self) -> Vec<MemberState> {
        let primary = members::primary(&self.members).map(|it| &it.name);
        let state = |member: &Member| {
            let shard = names::shard_of(&member.name);
            let set = shard.map_or_else(|| names::REDIS.to_owned(), names::shard);
            let set = self.get(Kind::StatefulSet, &set).filter(|set| Self::is_seen_by_its_controller(set))?;
            let revision = set.at("/status/updateRevision")?;
            let pod = self.get(Kind::Pod, &member.name);
            let label = |name: &str| pod.and_then(|pod| pod.metadata("labels")?.get(name));
            let role = match (&member.says, shard) {
                (_, Some(shard)) => self.role_in(shard, member),
                _ if pod.is_some_and(|pod| !has_sentinel(pod)) => Role::Single,
                _ if primary == Some(&member.name) => Role::Primary,
                (Some(Says::Replica { in_sync: true, is_candidate: true }), _) if primary.is_some() => {
                    Role::InSync
                }
                _ => Role::Other,
            };
            // Its volume goes with its pod: it must not hold anything before.
            let is_condemned = || {
                let claim = self.get(Kind::PersistentVolumeClaim, &names::claim(&member.name));
                role == Role::Empty && claim.is_some_and(Seen::is_terminating)
            };
            Some(MemberState {
                name: member.name.clone(),
                shard,
                pod: pod.map_or(Pod::Absent, pod_state),
                role,
                is_outdated: pod.is_some()
                    && (label("controller-revision-hash") != Some(revision) || is_condemned()),
                trouble: pod.and_then(trouble),
            })
        };
        self.members.iter().filter_map(state).collect()
    }

    fn role_in(&self, shard: u8, member: &Member) -> Role {
        if cluster::primary(&self.members, shard).is_some_and(|it| it.name == member.name) {
            Role::Primary
        } else if cluster::is_in_sync(&self.members, member) {
            Role::InSync
        } else if cluster::is_empty(member) {
            Role::Empty
        } else {
            Role::Other
        }
    }

    /// What the Deployment's own condition says: enough pods are available.
    pub fn worker_is_available(&self) -> bool {
        let Some(deployment) = self.get(Kind::Deployment, names::WORKER) else { return false };
        let conditions = deployment.at("/status/conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().any(|it| it["type"] == "Available" && it["status"] == "True")
    }

    /// Pods that a workload ought to have now.
    pub fn replicas(&self, kind: Kind, name: &str) -> i32 {
        self.count(kind, name, "/spec/replicas")
    }

    /// Whether no pod of an earlier template is left.
    pub fn worker_is_rolled_out(&self) -> bool {
        let Some(deployment) = self.get(Kind::Deployment, names::WORKER) else { return false };
        let count = |pointer| self.count(Kind::Deployment, names::WORKER, pointer);
        Self::is_seen_by_its_controller(deployment)
            && count("/status/updatedReplicas") == count("/status/replicas")
    }

    /// The first of these claims that waits for its volume.
    pub fn pending_claim(&self, pods: &[String]) -> Option<String> {
        let is_pending = |name: &String| {
            let claim = self.get(Kind::PersistentVolumeClaim, name);
            claim.is_some_and(|claim| claim.at("/status/phase").and_then(Value::as_str) == Some("Pending"))
        };
        pods.iter().map(|pod| names::claim(pod)).find(is_pending)
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

pub(super) fn pod_state(pod: &Seen) -> Pod {
    let conditions = pod.at("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is_ready = conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
    let containers = pod.at("/status/containerStatuses").and_then(Value::as_array);
    let all_run =
        containers.is_some_and(|it| !it.is_empty() && it.iter().all(|it| it["state"]["running"].is_object()));
    match (pod.is_terminating(), is_ready) {
        (true, _) => Pod::Ending,
        (false, true) => Pod::Ready,
        (false, false) if all_run => Pod::Running,
        (false, false) => Pod::NotReady,
    }
}

/// Why a pod may never come up as it is, in Kubernetes' word.
pub(super) fn trouble(pod: &Seen) -> Option<String> {
    let containers = pod.at("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    let reasons = containers.filter_map(|it| it.pointer("/state/waiting/reason")?.as_str());
    let lasts = |it: &&str| {
        matches!(*it, "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "CrashLoopBackOff")
    };
    reasons.filter(lasts).map(str::to_owned).next()
}

fn has_sentinel(pod: &Seen) -> bool {
    let containers = pod.at("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    containers.into_iter().any(|it| it["name"] == names::SENTINEL)
}

#[cfg(test)]
mod tests;
