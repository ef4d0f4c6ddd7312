//! What has been seen of the objects made for tenants, by tenant. Fed by the watches and by the answers to our own
//! writes, read by `tenant::observe`; asks the API server nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use keystead_route::TENANT_LABEL;
use serde_json::{Value, json};

use crate::kinds::Kind;

/// What names an object: kind, namespace (empty for a namespace itself) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(out, "{} {}", self.kind.as_str(), self.name)
        } else {
            write!(out, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
        }
    }
}

/// An object as it was seen last. It may be a Secret: `Debug` shows only what it is.
#[derive(Clone, PartialEq)]
pub struct Seen {
    pub key: Key,
    /// The whole object, without `managedFields`.
    pub body: Value,
    /// The generation that our last write led to, in the life of this process; what came before is unknown.
    pub applied_generation: Option<i64>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at {}", self.key, self.resource_version())
    }
}

impl Seen {
    /// Takes an object as the API server gives it; `None` where it has no name or no tenant.
    pub fn new(kind: Kind, mut body: Value) -> Option<(String, Self)> {
        let metadata = body.get_mut("metadata")?.as_object_mut()?;
        metadata.remove("managedFields");
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = Key { kind, namespace: text("namespace"), name: text("name") };
        let tenant = metadata.get("labels")?.get(TENANT_LABEL)?.as_str()?.to_owned();
        if key.name.is_empty() {
            return None;
        }
        if kind == Kind::Pod {
            keep_what_matters_of_a_pod(&mut body);
        }
        // The items of a list come without them.
        let resource = kind.resource();
        body["apiVersion"] = json!(resource.api_version);
        body["kind"] = json!(resource.kind);
        Some((tenant, Self { key, body, applied_generation: None }))
    }

    pub fn metadata(&self, field: &str) -> Option<&Value> {
        self.body.get("metadata")?.get(field)
    }

    pub fn uid(&self) -> &str {
        self.metadata("uid").and_then(Value::as_str).unwrap_or_default()
    }

    pub fn resource_version(&self) -> &str {
        self.metadata("resourceVersion").and_then(Value::as_str).unwrap_or_default()
    }

    pub fn generation(&self) -> i64 {
        self.metadata("generation").and_then(Value::as_i64).unwrap_or_default()
    }

    pub fn is_terminating(&self) -> bool {
        self.metadata("deletionTimestamp").is_some()
    }

    /// Its value at a JSON pointer.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.body.pointer(pointer)
    }

    /// Not newer than `other`, as far as that can be told.
    fn is_stale_beside(&self, other: &Self) -> bool {
        let number = |seen: &Self| seen.resource_version().parse::<u64>().ok();
        matches!((number(self), number(other)), (Some(own), Some(others)) if own <= others)
    }

    /// Whether the difference to `other` is none that anything follows from.
    fn is_no_news_beside(&self, other: &Self) -> bool {
        let relevant = |seen: &Self| {
            let mut body = seen.body.clone();
            if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("resourceVersion");
            }
            if !seen.key.kind.status_matters()
                && let Some(body) = body.as_object_mut()
            {
                body.remove("status");
            }
            body
        };
        relevant(self) == relevant(other)
    }
}

/// There are many pods, and most of what is in one is in the template already.
fn keep_what_matters_of_a_pod(body: &mut Value) {
    let containers = body.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<Value> = containers.map(|it| json!({ "name": it["name"] })).collect();
    let conditions = body.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let conditions: Vec<Value> =
        conditions.map(|it| json!({ "type": it["type"], "status": it["status"] })).collect();
    let running = body.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    let running: Vec<Value> = running
        .map(|it| {
            let state = &it["state"];
            let state = match (&state["terminated"]["message"], &state["waiting"]["reason"]) {
                _ if state["running"].is_object() => json!({ "running": {} }),
                (Value::String(last_words), _) => json!({ "terminated": { "message": last_words } }),
                (_, Value::String(reason)) => json!({ "waiting": { "reason": reason } }),
                _ => json!({}),
            };
            json!({ "name": it["name"], "state": state })
        })
        .collect();
    body["spec"] = json!({ "containers": names });
    let phase = body.pointer("/status/phase").cloned();
    body["status"] = json!({ "phase": phase, "conditions": conditions, "containerStatuses": running });
}

/// How many of the objects that are gone are remembered: many more than answers are under way.
const GONE: usize = 1000;

/// All that has been seen of one tenant's objects.
pub type Objects = BTreeMap<Key, Arc<Seen>>;

#[derive(Default)]
struct Inner {
    tenants: HashMap<String, Objects>,
    /// Which tenant an object belongs to: a changed label must not leave it with two.
    owners: HashMap<Key, String>,
    /// Their uids: an answer to a write may come after the watch has told that the object is gone.
    gone: VecDeque<String>,
}

/// The objects of every tenant.
#[derive(Default)]
pub struct Cache {
    inner: RwLock<Inner>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Cache {
    /// What has been seen for one tenant.
    pub fn of(&self, tenant: &str) -> Objects {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.tenants.get(tenant).cloned().unwrap_or_default()
    }

    /// How many objects are held.
    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).owners.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in an object; gives the tenants for which something changed.
    pub fn insert(&self, tenant: String, mut seen: Seen) -> Vec<String> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.gone.retain(|uid| uid != seen.uid());
        let mut changed = Vec::new();
        if let Some(former) = inner.owners.get(&seen.key).filter(|former| **former != tenant).cloned() {
            inner.remove(&seen.key);
            changed.push(former);
        }
        let objects = inner.tenants.entry(tenant.clone()).or_default();
        if let Some(known) = objects.get(&seen.key) {
            if seen.is_stale_beside(known) {
                // The watch was faster than the answer to our write, which still tells to which generation that led.
                if known.uid() == seen.uid() && seen.applied_generation > known.applied_generation {
                    let applied_generation = seen.applied_generation;
                    let known = Seen { applied_generation, ..Seen::clone(known) };
                    objects.insert(seen.key, Arc::new(known));
                }
                return changed;
            }
            if known.uid() == seen.uid() {
                seen.applied_generation = seen.applied_generation.or(known.applied_generation);
            }
            if !seen.is_no_news_beside(known) {
                changed.push(tenant.clone());
            }
        } else {
            changed.push(tenant.clone());
        }
        let key = seen.key.clone();
        objects.insert(key.clone(), Arc::new(seen));
        inner.owners.insert(key, tenant);
        changed
    }

    /// Takes in the answer to a write, unless a watch has told since that the object is gone.
    pub fn insert_answer(&self, tenant: String, seen: Seen) {
        let is_gone = {
            let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
            inner.gone.iter().any(|uid| uid == seen.uid())
        };
        if !is_gone {
            self.insert(tenant, seen);
        }
    }

    /// Forgets an object that is gone, or has lost the labels that we watch by.
    pub fn remove(&self, gone: &Seen) -> Option<String> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let owner = inner.owners.get(&gone.key)?;
        let known = inner.tenants.get(owner)?.get(&gone.key)?;
        if known.uid() != gone.uid() {
            return None;
        }
        inner.remember_gone(gone.uid());
        inner.remove(&gone.key)
    }

    /// After a fresh list of a kind: forgets what is not in it.
    pub fn retain(&self, kind: Kind, listed: &HashSet<Key>) -> Vec<String> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Key> =
            inner.owners.keys().filter(|key| key.kind == kind && !listed.contains(*key)).cloned().collect();
        gone.iter().filter_map(|key| inner.remove(key)).collect()
    }
}

impl Inner {
    fn remember_gone(&mut self, uid: &str) {
        if self.gone.len() >= GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(uid.to_owned());
    }

    fn remove(&mut self, key: &Key) -> Option<String> {
        let owner = self.owners.remove(key)?;
        if let Some(objects) = self.tenants.get_mut(&owner) {
            objects.remove(key);
            if objects.is_empty() {
                self.tenants.remove(&owner);
            }
        }
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: Kind, tenant: &str, version: u64, extra: &Value) -> (String, Seen) {
        let mut body = json!({
            "metadata": {
                "name": "x", "namespace": "n", "uid": "u", "resourceVersion": version.to_string(),
                "labels": { TENANT_LABEL: tenant }, "managedFields": [{}],
            },
        });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Seen::new(kind, body).unwrap()
    }

    #[test]
    fn an_older_state_does_not_replace_a_newer_one() {
        let cache = Cache::default();
        let (tenant, newer) = seen(Kind::Service, "shop", 9, &json!({ "spec": 2 }));
        let key = newer.key.clone();
        assert_eq!(cache.insert(tenant, newer), ["shop"]);
        let (tenant, older) = seen(Kind::Service, "shop", 8, &json!({ "spec": 1 }));
        assert!(cache.insert(tenant, older).is_empty());
        assert_eq!(cache.of("shop")[&key].body["spec"], json!(2));
    }

    #[test]
    fn an_answer_that_the_watch_has_outrun_still_tells_the_generation_that_we_wrote() {
        let cache = Cache::default();
        for known in [8, 9] {
            let (tenant, told) = seen(Kind::StatefulSet, "shop", known, &json!({}));
            cache.insert(tenant, told);
        }
        let (tenant, mut answer) = seen(Kind::StatefulSet, "shop", 9, &json!({}));
        answer.applied_generation = Some(3);
        let key = answer.key.clone();
        cache.insert(tenant, answer);
        assert_eq!(cache.of("shop")[&key].applied_generation, Some(3));
    }

    #[test]
    fn an_item_of_a_list_is_the_same_as_the_object_by_itself() {
        let (_, item) = seen(Kind::NetworkPolicy, "shop", 1, &json!({}));
        let whole = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy" });
        assert_eq!(item, seen(Kind::NetworkPolicy, "shop", 1, &whole).1);
    }

    #[test]
    fn a_status_is_news_only_where_something_follows_from_it() {
        for (kind, news) in [(Kind::StatefulSet, 1), (Kind::HorizontalPodAutoscaler, 0)] {
            let cache = Cache::default();
            let (tenant, first) = seen(kind, "shop", 1, &json!({ "status": 1 }));
            cache.insert(tenant, first);
            let (tenant, second) = seen(kind, "shop", 2, &json!({ "status": 2 }));
            assert_eq!(cache.insert(tenant, second).len(), news, "{kind:?}");
        }
    }

    #[test]
    fn an_object_belongs_to_one_tenant() {
        let cache = Cache::default();
        let (tenant, object) = seen(Kind::Service, "shop", 1, &json!({}));
        cache.insert(tenant, object);
        let (tenant, object) = seen(Kind::Service, "bank", 2, &json!({}));
        assert_eq!(cache.insert(tenant, object), ["shop", "bank"]);
        assert!(cache.of("shop").is_empty());
    }

    #[test]
    fn the_end_of_an_object_that_was_made_anew_is_no_end() {
        let cache = Cache::default();
        let (tenant, object) = seen(Kind::Service, "shop", 5, &json!({}));
        let mut gone = object.clone();
        cache.insert(tenant, object);
        gone.body["metadata"]["uid"] = json!("other");
        assert_eq!(cache.remove(&gone), None);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn an_answer_that_comes_after_the_end_makes_no_object() {
        let cache = Cache::default();
        let (tenant, object) = seen(Kind::Service, "shop", 5, &json!({}));
        cache.insert(tenant.clone(), object.clone());
        cache.remove(&object);
        cache.insert_answer(tenant.clone(), object.clone());
        assert!(cache.is_empty());
        // It had only lost its labels for a while.
        assert_eq!(cache.insert(tenant.clone(), object.clone()), ["shop"]);
        cache.insert_answer(tenant, object);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn a_fresh_list_forgets_what_is_not_in_it() {
        let cache = Cache::default();
        let (tenant, object) = seen(Kind::Service, "shop", 5, &json!({}));
        cache.insert(tenant, object);
        assert!(cache.retain(Kind::Secret, &HashSet::new()).is_empty());
        assert_eq!(cache.retain(Kind::Service, &HashSet::new()), ["shop"]);
        assert!(cache.is_empty());
    }

    #[test]
    fn a_secret_is_not_shown_when_it_is_printed() {
        let (_, secret) = seen(Kind::Secret, "shop", 1, &json!({ "data": { "p": "aHVudGVyMg==" } }));
        assert_eq!(format!("{secret:?}"), "Secret n/x at 1");
    }
}
