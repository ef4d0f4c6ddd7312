//! The plan for a tenant that falls asleep and wakes.

use super::*;
use crate::tenant::sleep::{Sleep, Stage};

fn in_stage(stage: Stage) -> Sleep {
    Sleep { stage, since: Timestamp::UNIX_EPOCH, due: None, generation: Some(3), knocks: 0 }
}

/// Takes up another stage, as a pass does.
fn turn(world: &mut World, spec: &Value, stage: Stage, redis_rests: bool) {
    world.tenant = World::new(spec.clone()).tenant.sleeping(Some(in_stage(stage)), redis_rests);
    world.done.clear();
    world.settle();
}

fn replicas(world: &World, kind: Kind, name: &str) -> Value {
    let key = Key { kind, namespace: "tenant-shop".into(), name: name.into() };
    world.objects.get(&key).map_or(Value::Null, |it| it.body["spec"]["replicas"].clone())
}

fn put_ours(world: &mut World, kind: Kind, namespace: &str, name: &str) {
    let labels = names::labels(&world.tenant.name, None);
    world.put(kind, json!({ "metadata": { "name": name, "namespace": namespace, "labels": labels } }));
}

#[test]
fn the_worker_goes_first_and_all_that_holds_something_stays() {
    let spec = json!({
        "hibernation": { "idleAfter": "30m" },
        "redis": { "topology": "Replicated" },
        "autoscaling": { "readers": {} },
    });
    let mut world = World::new(spec.clone());
    turn(&mut world, &spec, Stage::Awake, false);
    for pod in ["redis-0", "redis-1", "redis-2"] {
        put_ours(&mut world, Kind::PersistentVolumeClaim, "tenant-shop", &names::claim(pod));
    }
    let before = world.left();

    turn(&mut world, &spec, Stage::Asleep, false);
    let set = Kind::StatefulSet;
    assert_eq!(replicas(&world, Kind::Deployment, "worker"), json!(0));
    assert_eq!(replicas(&world, set, "redis"), json!(3));
    turn(&mut world, &spec, Stage::Asleep, true);
    assert_eq!(world.done, ["StatefulSet tenant-shop/redis"]);
    assert_eq!(replicas(&world, set, "redis"), json!(0));
    let left = world.left();
    let gone: Vec<&String> = before.iter().filter(|it| !left.contains(it)).collect();
    assert_eq!(
        gone,
        [
            "Service tenant-shop/redis-readers",
            "NetworkPolicy tenant-shop/redis-readers",
            "StatefulSet tenant-shop/redis-readers",
            "HorizontalPodAutoscaler tenant-shop/redis-readers",
            "HorizontalPodAutoscaler tenant-shop/worker",
            "PodDisruptionBudget tenant-shop/redis-readers",
            "PodDisruptionBudget tenant-shop/worker",
        ]
    );

    turn(&mut world, &spec, Stage::Waking, false);
    assert_eq!(replicas(&world, set, "redis"), json!(3));
    assert_eq!(replicas(&world, Kind::Deployment, "worker"), json!(1));
    assert_eq!(world.left(), before);
}

#[test]
fn shards_that_sleep_lack_nothing() {
    let spec = json!({ "hibernation": { "idleAfter": "30m" }, "redis": { "topology": "Cluster" } });
    let mut world = World::new(spec.clone());
    turn(&mut world, &spec, Stage::Asleep, true);
    assert_eq!(replicas(&world, Kind::StatefulSet, "redis-shard-2"), json!(0));
    assert!(!world.done.iter().any(|it| it.starts_with("Job")), "{:?}", world.done);
}

#[test]
fn a_call_stays_until_it_is_heeded_and_goes_with_its_tenant() {
    let spec = json!({ "hibernation": { "idleAfter": "30m" } });
    let mut world = World::new(spec.clone());
    turn(&mut world, &spec, Stage::Asleep, true);
    for name in ["wake-shop", "knock-shop"] {
        put_ours(&mut world, Kind::ConfigMap, "front", name);
    }
    assert!(world.observed().calls().proven && world.observed().calls().owed);
    turn(&mut world, &spec, Stage::Asleep, true);
    assert_eq!(world.done, Vec::<String>::new());
    turn(&mut world, &spec, Stage::Waking, false);
    let heeded = ["delete ConfigMap front/knock-shop", "delete ConfigMap front/wake-shop"];
    assert!(heeded.iter().all(|it| world.done.contains(&(*it).to_owned())), "{:?}", world.done);
    assert_eq!(world.observed().calls(), crate::tenant::sleep::Calls::default());

    put_ours(&mut world, Kind::ConfigMap, "front", "wake-shop");
    // One of another tenant's, whatever its labels say.
    put_ours(&mut world, Kind::ConfigMap, "front", "wake-shops");
    world.delete(DeletionPolicy::Delete);
    assert_eq!(world.left(), ["ConfigMap front/wake-shops"]);
}

#[test]
fn what_is_kept_of_its_sleep_is_read_from_its_route() {
    let spec = json!({ "hibernation": { "idleAfter": "30m" } });
    let mut world = World::new(spec.clone());
    assert_eq!(world.observed().sleep(), None);
    turn(&mut world, &spec, Stage::Drowsy, false);
    assert_eq!(world.observed().sleep(), Some(in_stage(Stage::Drowsy)));
    assert_eq!(world.settle(), 0);
}
