//! The plan, carried out in a world of maps: from any state it ends with everything there, in a safe order.

mod growth;
mod restart;
mod shards;
mod signing;
mod sleep;
mod waiting;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use keystead_crds::DeletionPolicy;
use keystead_usage::Jobs;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    cache::{Objects, Seen},
    fixtures,
    tenant::{
        build::{self, Known, build, services},
        certificates::{Authority, make_authority},
        credentials::{data, missing},
        members::Member,
        validate::validate,
    },
    usage::Demand,
};

struct World {
    tenant: ValidTenant,
    objects: Objects,
    /// As they say.
    members: Vec<Member>,
    version: u64,
    now: Timestamp,
    /// The key that somebody else keeps, where that is so.
    key: Option<Result<Outside, String>>,
    /// Everything that was ever done, in order.
    done: Vec<String>,
}

impl World {
    fn new(spec: Value) -> Self {
        let tenant = validate(&fixtures::tenant(spec), &fixtures::settings(), None).unwrap();
        Self {
            tenant,
            objects: Objects::new(),
            members: Vec::new(),
            version: 0,
            now: Timestamp::UNIX_EPOCH,
            key: None,
            done: Vec::new(),
        }
    }

    fn observed(&self) -> Observed {
        let mut observed = Observed::new(self.objects.clone(), &self.tenant.name, "front");
        observed.members.clone_from(&self.members);
        observed.outside_key.clone_from(&self.key);
        observed
    }

    fn plan(&self) -> Plan {
        self.plan_from(&self.observed())
    }

    fn plan_from(&self, observed: &Observed) -> Plan {
        let settings = fixtures::settings();
        let credentials = observed.credentials(self.tenant.needs());
        let issued = observed.issued().map(|issued| issued.ca());
        let known = Known {
            tenant: &self.tenant,
            settings: &settings,
            credentials: credentials.as_ref(),
            addresses: &observed.addresses(&services(&self.tenant)),
            readers_ip: observed.readers_ip(),
            redis_sets: &observed.redis_sets(),
            tls: issued.as_deref(),
            restarts_until: None,
        };
        let is_complete = credentials.is_some() && known.endpoint().is_some() && known.is_secured();
        let desired = Desired { objects: build(&known), is_complete, reshape: build::reshape(&self.tenant) };
        plan(&self.tenant, &desired, observed, self.now)
    }

    fn put(&mut self, kind: Kind, mut body: Value) {
        self.version += 1;
        body["metadata"]["uid"] = json!(format!("u{}", self.version));
        body["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if kind == Kind::Service && body["spec"]["clusterIP"].is_null() {
            body["spec"]["clusterIP"] = json!(format!("10.3.2.{}", self.version));
        }
        let (_, seen) = Seen::new(kind, body).unwrap();
        self.objects.insert(seen.key.clone(), Arc::new(seen));
    }

    fn carry_out(&mut self, step: Step) {
        self.done.push(match &step {
            Step::Delete { key, .. } => format!("delete {key}"),
            Step::Release { key, .. } => format!("release {key}"),
            Step::Scale { key, .. }
            | Step::Grow { key, .. }
            | Step::CompleteCredentials { key, .. }
            | Step::Rotate { key, .. }
            | Step::RotateSigning { key, .. } => key.to_string(),
            Step::CreateNamespace(object)
            | Step::CreateCredentials { object, .. }
            | Step::MakeAuthority { object, .. }
            | Step::Certify { object, .. }
            | Step::Apply(object)
            | Step::Begin { object, .. } => object.key.to_string(),
        });
        match step {
            Step::CreateNamespace(object) | Step::Apply(object) | Step::Begin { object, .. } => {
                let is_made = object.key.name == names::CREDENTIALS || certificates::makes(&object);
                let mut body = object.body;
                if let Some(seen) = self.objects.get(&object.key)
                    && is_made
                {
                    body["data"] = seen.body["data"].clone();
                }
                if object.key.kind == Kind::Deployment && body["spec"]["replicas"].is_null() {
                    body["spec"]["replicas"] = json!(1);
                }
                self.put(object.key.kind, body);
            }
            Step::CreateCredentials { object, needs, outside } => {
                assert!(!self.objects.contains_key(&object.key), "credentials are never made twice");
                let mut body = object.body;
                let made = missing(&"shop".parse().unwrap(), &outside.0, needs).unwrap();
                body["data"] = data(&outside.beside(&made));
                self.put(Kind::Secret, body);
            }
            Step::MakeAuthority { object, .. } => {
                let mut body = object.body;
                body["data"] = data(&make_authority(&self.tenant.name, Timestamp::UNIX_EPOCH).unwrap());
                self.put(Kind::Secret, body);
            }
            Step::Certify { object, order, .. } => {
                let mut body = object.body;
                body["data"] = data(&order.carry_out(Timestamp::UNIX_EPOCH).unwrap());
                self.put(Kind::Secret, body);
            }
            Step::CompleteCredentials { key, needs, .. } => {
                let mut body = self.objects[&key].body.clone();
                let mut contents = credentials::contents(body.get("data"));
                contents.extend(missing(&"shop".parse().unwrap(), &contents, needs).unwrap());
                body["data"] = data(&contents);
                self.put(Kind::Secret, body);
            }
            Step::Scale { key, replicas, .. } => {
                let mut body = self.objects[&key].body.clone();
                body["spec"]["replicas"] = json!(replicas);
                self.put(key.kind, body);
            }
            Step::Grow { key, size } => {
                let mut body = self.objects[&key].body.clone();
                body["spec"]["resources"]["requests"]["storage"] = json!(size);
                self.put(key.kind, body);
            }
            Step::Delete { key, .. } | Step::Release { key, .. } => {
                self.objects.remove(&key);
            }
            Step::RotateSigning { key, change, signing, outside, request } => {
                self.rotate_signing(&key, change, signing, outside.as_ref(), request.as_deref());
            }
            Step::Rotate { .. } => panic!("nobody asked for it"),
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
            let plan = deletion::plan(policy, &self.observed());
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
    world.carry_out(Step::Scale { key: key.clone(), replicas: 9, version: None });
    assert_eq!(world.settle(), 0);
    assert_eq!(world.objects[&key].body["spec"]["replicas"], json!(9));
}

#[test]
fn the_first_worker_comes_with_a_job_and_the_last_one_goes_without() {
    let mut world = World::new(json!({ "autoscaling": { "workers": { "minReplicas": 0 } } }));
    world.settle();
    let key = Key { kind: Kind::Deployment, namespace: "tenant-shop".into(), name: "worker".into() };
    let planned = |world: &World, waiting: u64| {
        let mut observed = world.observed();
        let jobs = Jobs { waiting, ..Jobs::default() };
        let idle = Duration::from_mins(if waiting == 0 { 60 } else { 0 });
        observed.demand = Some(Demand { jobs, expired: 0, idle });
        world.plan_from(&observed).steps
    };
    let scaled = |steps: &[Step]| match steps {
        [] => None,
        [Step::Scale { replicas, version: Some(_), .. }] => Some(*replicas),
        other => panic!("{other:?}"),
    };
    for (present, waiting, wanted) in
        [(0, 0, None), (0, 7, Some(1)), (1, 7, None), (1, 0, Some(0)), (5, 0, None), (5, 900, None)]
    {
        world.carry_out(Step::Scale { key: key.clone(), replicas: present, version: None });
        assert_eq!(scaled(&planned(&world, waiting)), wanted, "{present} {waiting}");
        assert!(world.plan().steps.is_empty(), "nothing is known of the queue");
    }
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
fn another_signing_algorithm_adds_a_key_and_changes_nothing_else() {
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
    let plan = deletion::plan(DeletionPolicy::Delete, &world.observed());
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

#[test]
fn where_redis_speaks_tls_pods_come_after_the_certificate_and_it_is_kept_with_the_data() {
    let spec = json!({ "redis": { "topology": "Replicated", "tls": { "enabled": true } }, "worker": { "replicas": 0 } });
    let mut world = World::new(spec);
    assert!(world.settle() <= 7, "{:?}", world.done);
    let order =
        ["Secret tenant-shop/redis-ca", "Secret tenant-shop/redis-tls", "StatefulSet tenant-shop/redis"]
            .map(|it| world.position(it));
    assert!(order.is_sorted(), "{:?}", world.done);
    for first in ["Secret tenant-shop/redis-tls", "Secret front/route-shop"] {
        assert_eq!(world.done.iter().filter(|it| *it == first).count(), 1, "{first}: {:?}", world.done);
    }
    let before = world.observed().issued().unwrap();
    world.delete(DeletionPolicy::Retain);
    let kept = [
        "Namespace tenant-shop",
        "Secret tenant-shop/credentials",
        "Secret tenant-shop/redis-ca",
        "Secret tenant-shop/redis-tls",
    ];
    assert_eq!(world.left(), kept);
    world.settle();
    let after = world.observed().issued().unwrap();
    assert_eq!(after.trusted, before.trusted);
    assert_ne!(after.certificate, before.certificate, "its Services have other addresses");
}

#[test]
fn a_tenant_waits_for_the_authority_of_somebody_else_and_goes_on_without_it() {
    let mut world =
        World::new(json!({ "redis": { "tls": { "enabled": true, "issuerSecretRef": "company-ca" } } }));
    let plan = |world: &World, authority| {
        let mut observed = world.observed();
        observed.authority = Some(authority);
        world.plan_from(&observed)
    };
    let lacks = || Err("it is not there yet".to_owned());
    // The namespace comes first: the Secret is put into it.
    for step in plan(&world, lacks()).steps {
        world.carry_out(step);
    }
    assert_eq!(plan(&world, lacks()), Plan::wait("it is not there yet"));
    let made = make_authority(&world.tenant.name, Timestamp::UNIX_EPOCH).unwrap();
    let authority = Authority::read(&made).unwrap();
    for _ in 0..7 {
        for step in plan(&world, Ok(authority.clone())).steps {
            world.carry_out(step);
        }
    }
    assert!(plan(&world, Ok(authority)).is_empty());
    assert!(world.left().contains(&"StatefulSet tenant-shop/redis".to_owned()));
    assert!(!world.left().contains(&"Secret tenant-shop/redis-ca".to_owned()));
    assert_eq!(plan(&world, lacks()), Plan::wait("it is not there yet"), "and it is said");
}
