//! The plan for a Cluster tenant: its Job, and shards that come and go.

use super::*;
use crate::tenant::{
    members::cluster::tests::{formed, members, strangers},
    validate::Arrangement,
};

/// Of a Cluster tenant.
impl World {
    fn key(kind: Kind, name: &str) -> Key {
        Key { kind, namespace: "tenant-shop".into(), name: name.into() }
    }

    /// Takes up another number of shards, as a pass does.
    fn want_shards(&mut self, wanted: u8) {
        let spec = json!({ "redis": { "topology": "Cluster", "shards": wanted } });
        self.tenant = World::new(spec).tenant;
        let leaving = self.observed().leaving(wanted);
        if let Arrangement::Cluster(shards) = &mut self.tenant.redis.arrangement {
            shards.leaving = leaving;
        }
    }

    /// Rounds until there is nothing to do at the moment.
    fn advance(&mut self) -> Plan {
        for _ in 0..10 {
            let plan = self.plan();
            let begins = plan.steps.iter().any(|it| matches!(it, Step::Begin { .. }));
            if plan.steps.is_empty() || begins {
                return plan;
            }
            for step in plan.steps {
                self.carry_out(step);
            }
        }
        panic!("it does not settle: {:?}", self.plan());
    }

    /// Every StatefulSet of Redis has its pods and its claims.
    fn start_pods(&mut self) {
        let sets: Vec<Key> = self.objects.keys().filter(|it| it.kind == Kind::StatefulSet).cloned().collect();
        for key in sets {
            let mut body = self.objects[&key].body.clone();
            body["status"] = json!({ "observedGeneration": 1, "updateRevision": "a" });
            let mut labels = body["spec"]["template"]["metadata"]["labels"].clone();
            labels["controller-revision-hash"] = json!("a");
            for ordinal in 0..2 {
                let name = format!("{}-{ordinal}", key.name);
                let claim = names::claim(&name);
                let of = |name: &str| json!({ "name": name, "namespace": "tenant-shop", "labels": labels });
                let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
                self.put(Kind::Pod, json!({ "metadata": of(&name), "status": ready }));
                self.put(Kind::PersistentVolumeClaim, json!({ "metadata": of(&claim) }));
            }
            self.put(Kind::StatefulSet, body);
        }
    }

    fn end_job(&mut self, condition: &str) {
        let mut body = self.objects[&Self::key(Kind::Job, "redis-reshape")].body.clone();
        let at = "1970-01-01T00:00:00Z";
        let end =
            json!({ "type": condition, "status": "True", "lastTransitionTime": at, "message": "too often" });
        body["status"] = json!({ "conditions": [end] });
        self.put(Kind::Job, body);
    }

    fn of_shard(&self, shard: u8) -> Vec<String> {
        let name = names::shard(shard);
        self.left().into_iter().filter(|it| !it.starts_with("Pod ") && it.contains(&name)).collect()
    }
}

fn cluster_of(shards: u8) -> World {
    let mut world = World::new(json!({}));
    world.want_shards(shards);
    world.advance();
    world.start_pods();
    world.members = members(&formed(shards));
    assert!(world.plan().is_empty(), "{:?}", world.plan());
    world
}

#[test]
fn a_cluster_is_formed_by_a_job_once_all_members_run() {
    let mut world = World::new(json!({}));
    world.want_shards(3);
    assert_eq!(world.advance().waits_for.unwrap(), "waits for the members to be made");
    assert!(
        world.position("StatefulSet tenant-shop/redis-shard-2")
            > world.position("ConfigMap tenant-shop/redis-config")
    );
    world.start_pods();
    world.members = members(&strangers(3));
    let plan = world.advance();
    assert!(matches!(&plan.steps[..], [Step::Begin { before: None, .. }]), "{plan:?}");
    plan.steps.into_iter().for_each(|step| world.carry_out(step));
    assert_eq!(world.plan().waits_for.unwrap(), "the Job redis-reshape runs, to form a cluster of 3 shards");

    world.end_job("Complete");
    world.members = members(&formed(3));
    assert!(world.plan().is_empty(), "the Job stays, so that its log can be read: {:?}", world.plan());
}

#[test]
fn a_job_that_failed_is_made_anew_and_counted() {
    let mut world = cluster_of(3);
    world.want_shards(4);
    world.advance();
    world.start_pods();
    let mut shards = formed(3);
    shards.extend(strangers(4).split_off(3));
    world.members = members(&shards);
    let plan = world.advance();
    plan.steps.into_iter().for_each(|step| world.carry_out(step));
    world.end_job("Failed");
    let job = reshape::job(&world.observed(), None);
    let reshape::Job::Finished(finished) = &job else { panic!("{job:?}") };
    assert_eq!((finished.attempt, finished.failure.as_deref()), (1, Some("too often")));
    assert!(world.plan().waits_for.unwrap().contains("tries again to give a part of the data to shard 3"));

    let uid = world.objects[&World::key(Kind::Job, "redis-reshape")].uid().to_owned();
    let labels = names::labels(&world.tenant.name, Some(names::REDIS_RESHAPE));
    let message = "keystead: Moves 10 slots.\nkeystead: Gives up: it is full.\n";
    let status = json!({ "phase": "Failed", "containerStatuses": [{ "state": { "terminated": { "message": message } } }] });
    let owners = json!([{ "uid": uid }]);
    let metadata = json!({ "name": "redis-reshape-x", "namespace": "tenant-shop", "labels": labels, "ownerReferences": owners });
    world.put(Kind::Pod, json!({ "metadata": metadata, "status": status }));
    let reshape::Job::Finished(finished) = reshape::job(&world.observed(), None) else { panic!() };
    assert_eq!(finished.failure.as_deref(), Some("Gives up: it is full."));
    let again = reshape::next(&build::reshape(&world.tenant).unwrap(), &job);
    assert_eq!(again.body["metadata"]["annotations"]["keystead.io/attempt"], "2");
}

#[test]
fn what_is_wanted_anew_does_not_wait_because_of_the_jobs_before() {
    let mut world = cluster_of(3);
    for (shards, ends) in [(4, "Complete"), (5, "Failed"), (6, "Complete")] {
        world.want_shards(shards);
        world.advance();
        world.start_pods();
        let mut known = formed(shards - 1);
        known.extend(strangers(shards).split_off(usize::from(shards) - 1));
        world.members = members(&known);
        let plan = world.advance();
        let [Step::Begin { object, .. }] = &plan.steps[..] else { panic!("{shards}: {plan:?}") };
        assert_eq!(object.body["metadata"]["annotations"]["keystead.io/attempt"], "1");
        plan.steps.into_iter().for_each(|step| world.carry_out(step));
        world.end_job(ends);
    }
}

#[test]
fn a_job_that_cannot_begin_gives_way_to_one_that_can() {
    let mut world = cluster_of(3);
    world.members = members(&strangers(3));
    let plan = world.advance();
    plan.steps.into_iter().for_each(|step| world.carry_out(step));
    world.want_shards(4);
    let deletes = world.done.len();
    world.advance();
    assert!(
        world.done[deletes..].contains(&"delete Job tenant-shop/redis-reshape".to_owned()),
        "{:?}",
        world.done
    );
}

#[test]
fn a_shard_goes_with_its_volumes_when_nothing_is_left_in_it_and_not_before() {
    let mut world = cluster_of(4);
    world.want_shards(3);
    let plan = world.advance();
    assert!(matches!(&plan.steps[..], [Step::Begin { .. }]), "{plan:?}");
    assert_eq!(world.of_shard(3).len(), 6, "{:?}", world.of_shard(3));
    plan.steps.into_iter().for_each(|step| world.carry_out(step));
    world.end_job("Complete");

    let mut shards = formed(3);
    shards.extend(strangers(4).split_off(3));
    world.members = members(&shards);
    world.want_shards(3);
    let others = world.of_shard(2);
    world.advance();
    assert_eq!(world.of_shard(3), Vec::<String>::new());
    assert_eq!(world.of_shard(2), others);
    assert!(world.plan().is_empty(), "{:?}", world.plan());
}

#[test]
fn a_shard_that_an_earlier_tenant_left_is_taken_up_with_its_data() {
    let mut world = cluster_of(3);
    let labels = names::labels(&world.tenant.name, None);
    let metadata = json!({ "name": "data-redis-shard-5-0", "namespace": "tenant-shop", "labels": labels });
    world.put(Kind::PersistentVolumeClaim, json!({ "metadata": metadata }));
    world.want_shards(3);
    assert_eq!(world.tenant.redis.shards().unwrap().leaving, [5]);
    world.advance();
    assert!(world.left().contains(&"StatefulSet tenant-shop/redis-shard-5".to_owned()), "{:?}", world.left());
    assert!(world.left().contains(&"PersistentVolumeClaim tenant-shop/data-redis-shard-5-0".to_owned()));
}

#[test]
fn a_new_shard_starts_once_the_certificate_names_it() {
    let tenant = |shards: u8| {
        let redis = json!({ "topology": "Cluster", "shards": shards, "tls": { "enabled": true } });
        World::new(json!({ "redis": redis, "worker": { "replicas": 0 } })).tenant
    };
    let mut world = World::new(json!({}));
    world.tenant = tenant(3);
    world.advance();
    let before = world.observed().issued().unwrap();
    world.done.clear();
    world.tenant = tenant(4);
    world.advance();
    let order = [
        "Service tenant-shop/redis-shard-3-1",
        "Secret tenant-shop/redis-tls",
        "StatefulSet tenant-shop/redis-shard-3",
    ];
    assert!(order.map(|it| world.position(it)).is_sorted(), "{:?}", world.done);
    let after = world.observed().issued().unwrap();
    assert_eq!(after.trusted, before.trusted);
    assert_ne!(after.certificate, before.certificate);
}
