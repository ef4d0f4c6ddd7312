//! The plan, carried out in a world of maps: from any state it ends with everything there, in a safe order.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    cache::{Objects, Seen},
    fixtures,
    tenant::{
        build::{Known, build},
        credentials::{data, missing},
        validate::validate,
    },
};

struct World {
    tenant: ValidTenant,
    objects: Objects,
    version: u64,
    /// Everything that was ever done, in order.
    done: Vec<String>,
}

impl World {
    fn new(spec: Value) -> Self {
        let tenant = validate(&fixtures::tenant(spec), &fixtures::settings(), None).unwrap();
        Self { tenant, objects: Objects::new(), version: 0, done: Vec::new() }
    }

    fn observed(&self) -> Observed {
        Observed::new(self.objects.clone(), &self.tenant.name, "front")
    }

    fn plan(&self) -> Plan {
        let observed = self.observed();
        let settings = fixtures::settings();
        let credentials = observed.credentials(self.tenant.needs());
        let objects = build(&Known {
            tenant: &self.tenant,
            settings: &settings,
            credentials: credentials.as_ref(),
            redis_ip: observed.redis_ip(),
            claim_templates: observed.claim_templates(),
        });
        let is_complete = credentials.is_some() && observed.redis_ip().is_some();
        plan(&self.tenant, &Desired { objects, is_complete }, &observed)
    }

    fn put(&mut self, kind: Kind, mut body: Value) {
        self.version += 1;
        body["metadata"]["uid"] = json!(format!("u{}", self.version));
        body["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if kind == Kind::Service && body["spec"]["clusterIP"].is_null() {
            body["spec"]["clusterIP"] = json!("10.3.2.1");
        }
        let (_, seen) = Seen::new(kind, body).unwrap();
        self.objects.insert(seen.key.clone(), Arc::new(seen));
    }

    fn carry_out(&mut self, step: Step) {
        self.done.push(match &step {
            Step::Delete { key, .. } => format!("delete {key}"),
            Step::Scale { key, .. } | Step::Grow { key, .. } | Step::CompleteCredentials { key, .. } => {
                key.to_string()
            }
            Step::CreateNamespace(object) | Step::CreateCredentials { object, .. } | Step::Apply(object) => {
                object.key.to_string()
            }
        });
        match step {
            Step::CreateNamespace(object) | Step::Apply(object) => {
                let mut body = object.body;
                if let Some(seen) = self.objects.get(&object.key)
                    && object.key.name == names::CREDENTIALS
                {
                    body["data"] = seen.body["data"].clone();
                }
                if object.key.kind == Kind::Deployment && body["spec"]["replicas"].is_null() {
                    body["spec"]["replicas"] = json!(1);
                }
                self.put(object.key.kind, body);
            }
            Step::CreateCredentials { object, needs } => {
                assert!(!self.objects.contains_key(&object.key), "credentials are never made twice");
                let mut body = object.body;
                body["data"] =
                    data(&missing(&"shop".parse().unwrap(), &credentials::Contents::new(), needs).unwrap());
                self.put(Kind::Secret, body);
            }
            Step::CompleteCredentials { key, needs } => {
                let mut body = self.objects[&key].body.clone();
                let mut contents = credentials::contents(body.get("data"));
                contents.extend(missing(&"shop".parse().unwrap(), &contents, needs).unwrap());
                body["data"] = data(&contents);
                self.put(Kind::Secret, body);
            }
            Step::Scale { key, replicas } => {
                let mut body = self.objects[&key].body.clone();
                body["spec"]["replicas"] = json!(replicas);
                self.put(key.kind, body);
            }
            Step::Grow { key, size } => {
                let mut body = self.objects[&key].body.clone();
                body["spec"]["resources"]["requests"]["storage"] = json!(size);
                self.put(key.kind, body);
            }
            Step::Delete { key, .. } => {
                self.objects.remove(&key);
            }
        }
    }

    /// Rounds until nothing is left to do.
    fn settle(&mut self) -> usize {
        for round in 0..10 {
            let plan = self.plan();
            assert_eq!(plan.waits_for, None);
            if plan.steps.is_empty() {
                return round;
            }
            for step in plan.steps {
                self.carry_out(step);
            }
        }
        panic!("it does not settle: {:?}", self.plan());
    }

    fn delete(&mut self, policy: DeletionPolicy) {
        for _ in 0..10 {
            let plan = plan_deletion(policy, &self.observed());
            if plan.is_empty() {
                return;
            }
            assert!(!plan.steps.is_empty(), "{plan:?}");
            for step in plan.steps {
                let namespace_goes = matches!(&step, Step::Delete { key, .. } if key.kind == Kind::Namespace);
                self.carry_out(step);
                if namespace_goes {
                    self.objects.retain(|key, _| key.namespace == "front");
                }
            }
        }
        panic!("the deletion does not end");
    }

    fn position(&self, what: &str) -> usize {
        self.done.iter().position(|it| it == what).unwrap_or_else(|| panic!("{what} not in {:?}", self.done))
    }

    fn left(&self) -> Vec<String> {
        self.objects.keys().map(ToString::to_string).collect()
    }
}

#[test]
fn pods_come_after_what_they_need_and_five_rounds_are_enough() {
    let mut world = World::new(json!({}));
    assert!(world.settle() <= 5);
    assert_eq!(world.done[0], "Namespace tenant-shop");
    let pods = world.position("StatefulSet tenant-shop/redis");
    for first in [
        "Secret tenant-shop/credentials",
        "Secret tenant-shop/redis-users",
        "ConfigMap tenant-shop/redis-config",
        "ServiceAccount tenant-shop/redis",
        "NetworkPolicy tenant-shop/default-deny",
    ] {
        assert!(world.position(first) < pods, "{first}");
    }
}

#[test]
fn what_is_not_wanted_any_more_is_removed_and_data_is_not() {
    let mut world = World::new(json!({}));
    world.settle();
    world.put(
        Kind::PersistentVolumeClaim,
        json!({ "metadata": { "name": "data-redis-0", "namespace": "tenant-shop", "labels": names::labels(&world.tenant.name, None) } }),
    );
    world.tenant = World::new(json!({ "suspend": true })).tenant;
    world.done.clear();
    world.settle();
    assert!(world.done.contains(&"delete HorizontalPodAutoscaler tenant-shop/worker".to_owned()));
    assert!(world.left().contains(&"PersistentVolumeClaim tenant-shop/data-redis-0".to_owned()));
    assert!(!world.done.iter().any(|it| it.starts_with("delete") && it.contains("credentials")));
}

#[test]
fn a_service_that_is_made_anew_does_not_take_the_worker_with_it() {
    let mut world = World::new(json!({}));
    world.settle();
    world.objects.retain(|key, _| key.kind != Kind::Service);
    world.done.clear();
    world.settle();
    assert!(!world.done.iter().any(|it| it.starts_with("delete")), "{:?}", world.done);
}

#[test]
fn an_autoscaled_deployment_is_lifted_to_its_least_and_never_lowered() {
    let mut world = World::new(json!({ "worker": { "replicas": 3 } }));
    world.settle();
    let key = Key { kind: Kind::Deployment, namespace: "tenant-shop".into(), name: "worker".into() };
    assert_eq!(world.objects[&key].body["spec"]["replicas"], json!(3));
    world.carry_out(Step::Scale { key: key.clone(), replicas: 9 });
    assert_eq!(world.settle(), 0);
    assert_eq!(world.objects[&key].body["spec"]["replicas"], json!(9));
}

#[test]
fn a_larger_volume_is_asked_for_and_a_smaller_one_is_not() {
    let mut world = World::new(json!({ "redis": { "storage": { "size": "3Gi" } } }));
    world.settle();
    let claim = |size: &str| {
        json!({
            "metadata": { "name": "data-redis-0", "namespace": "tenant-shop", "labels": names::labels(&"shop".parse().unwrap(), None) },
            "spec": { "resources": { "requests": { "storage": size } } },
            "status": { "phase": "Bound" },
        })
    };
    world.put(Kind::PersistentVolumeClaim, claim("4Gi"));
    assert!(world.plan().is_empty());
    world.put(Kind::PersistentVolumeClaim, claim("1Gi"));
    assert!(matches!(&world.plan().steps[..], [Step::Grow { size, .. }] if size == "3Gi"));
}

#[test]
fn another_signing_algorithm_adds_a_key_and_changes_no_password() {
    let mut world = World::new(json!({}));
    world.settle();
    let before = world.observed().credential_contents().unwrap();
    world.tenant = World::new(json!({ "auth": { "signing": "HS256" } })).tenant;
    world.settle();
    let after = world.observed().credential_contents().unwrap();
    assert!(before.iter().all(|(name, text)| after[name] == *text));
    assert_eq!(after.len(), before.len() + 1);
}

#[test]
fn nothing_is_put_into_a_namespace_that_is_being_deleted() {
    let mut world = World::new(json!({}));
    world.settle();
    let key = Key { kind: Kind::Namespace, namespace: String::new(), name: "tenant-shop".into() };
    let mut body = world.objects[&key].body.clone();
    body["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    world.put(Kind::Namespace, body);
    let plan = world.plan();
    assert!(plan.steps.is_empty());
    assert!(plan.waits_for.unwrap().contains("tenant-shop is being deleted"));
}

#[test]
fn a_deletion_takes_the_route_first_and_leaves_nothing() {
    let mut world = World::new(json!({}));
    world.settle();
    world.done.clear();
    world.delete(DeletionPolicy::Delete);
    assert_eq!(world.done[0], "delete Secret front/route-shop");
    assert!(
        world.position("delete StatefulSet tenant-shop/redis")
            < world.position("delete Namespace tenant-shop")
    );
    assert!(world.objects.is_empty());
}

#[test]
fn a_deletion_waits_for_the_pods_and_says_so() {
    let mut world = World::new(json!({}));
    world.settle();
    world.objects.retain(|key, _| key.namespace != "front");
    for key in world.objects.keys().cloned().collect::<Vec<_>>() {
        if matches!(key.kind, Kind::StatefulSet | Kind::Deployment | Kind::HorizontalPodAutoscaler) {
            let mut body = world.objects[&key].body.clone();
            body["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
            world.put(key.kind, body);
        }
    }
    let plan = plan_deletion(DeletionPolicy::Delete, &world.observed());
    assert!(plan.steps.is_empty());
    assert_eq!(
        plan.waits_for.unwrap(),
        "waits for the pods of StatefulSet tenant-shop/redis and Deployment tenant-shop/worker to end"
    );
}

#[test]
fn retained_data_is_taken_up_again() {
    let mut world = World::new(json!({}));
    world.settle();
    let secrets = world.observed().credential_contents().unwrap();
    world.delete(DeletionPolicy::Retain);
    assert_eq!(world.left(), ["Namespace tenant-shop", "Secret tenant-shop/credentials"]);
    world.settle();
    assert_eq!(world.observed().credential_contents().unwrap(), secrets);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is missing or was changed, it is put back, and a settled tenant stays settled.
    #[test]
    fn any_drift_is_put_back(lost in proptest::collection::btree_set(0_usize..16, 0..16), bent in 0_usize..16) {
        let mut world = World::new(json!({}));
        world.settle();
        let keys: Vec<Key> = world.objects.keys().cloned().collect();
        let complete: BTreeSet<Key> = keys.iter().cloned().collect();
        let gone = |index: &usize| keys.get(*index).filter(|key| key.kind != Kind::Namespace);
        for key in lost.iter().filter_map(gone) {
            world.objects.remove(key);
        }
        if let Some(seen) = keys.get(bent).and_then(|key| world.objects.get(key)).cloned() {
            let mut body = seen.body.clone();
            body["metadata"]["labels"][names::INSTANCE_LABEL] = json!("other");
            world.put(seen.key.kind, body);
        }
        world.settle();
        prop_assert_eq!(world.objects.keys().cloned().collect::<BTreeSet<_>>(), complete);
        prop_assert_eq!(world.settle(), 0);
    }
}
