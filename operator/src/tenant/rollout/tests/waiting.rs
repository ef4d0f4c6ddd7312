//! What is left as it is until it is its turn to be restarted.

use super::*;
use crate::tenant::sleep::{Sleep, Stage};

fn settled(spec: Value) -> World {
    let mut world = World::new(spec);
    world.settle();
    let keys: Vec<Key> = world.objects.keys().filter(|it| it.kind == Kind::StatefulSet).cloned().collect();
    for key in keys {
        let mut body = world.objects[&key].body.clone();
        body["status"] = json!({ "readyReplicas": body["spec"]["replicas"] });
        world.put(key.kind, body);
    }
    world
}

/// What is desired by another spec, or by another operator.
fn desired(world: &World) -> Desired {
    desired_until(world, None)
}

/// The same, where gateways are told of a restart.
pub(super) fn desired_until(world: &World, restarts_until: Option<Timestamp>) -> Desired {
    let settings = fixtures::settings();
    let observed = world.observed();
    let credentials = observed.credentials(world.tenant.needs());
    let known = Known {
        tenant: &world.tenant,
        settings: &settings,
        credentials: credentials.as_ref(),
        addresses: &observed.addresses(&services(&world.tenant)),
        readers_ip: observed.readers_ip(),
        redis_sets: &observed.redis_sets(),
        tls: None,
        restarts_until,
    };
    Desired { objects: build(&known), is_complete: true, reshape: build::reshape(&world.tenant) }
}

fn restarts(world: &World) -> bool {
    turns::restarts(&world.tenant, &desired(world), &world.observed())
}

fn applied(world: &World, desired: &Desired) -> Vec<String> {
    let plan = plan(&world.tenant, desired, &world.observed(), Timestamp::UNIX_EPOCH);
    let applied = plan.steps.iter().map(|step| match step {
        Step::Apply(object) => object.key.to_string(),
        other => panic!("{other:?}"),
    });
    applied.collect()
}

#[test]
fn another_template_restarts_a_redis_that_serves_and_nothing_else_does() {
    let mut world = settled(json!({}));
    assert!(!restarts(&world));
    for (spec, expected) in [
        (json!({ "redis": { "config": { "io-threads": "4" } } }), true),
        (json!({ "redis": { "version": "7.0" } }), true),
        (json!({ "limits": { "maxKeyBytes": 7 } }), false),
        (json!({ "worker": { "concurrency": 7 } }), false),
        (json!({ "redis": { "config": { "hz": "20" } } }), false),
        // Nobody is served.
        (json!({ "suspend": true, "redis": { "version": "7.0" } }), false),
        // Others have to know of the members at once.
        (json!({ "redis": { "topology": "Replicated" } }), false),
    ] {
        world.tenant = World::new(spec.clone()).tenant;
        assert_eq!(restarts(&world), expected, "{spec}");
    }
    // A gateway would ask for what the Redis before does not know.
    let mut world = settled(json!({ "redis": { "version": "7.0" } }));
    world.tenant = World::new(json!({ "redis": { "version": "7.2" } })).tenant;
    assert!(restarts(&world) && !turns::may_wait(&world.tenant, &world.observed()));
    // The other way about, what the gateway asks for is there.
    let mut world = settled(json!({ "redis": { "version": "7.2" } }));
    let fsync =
        json!({ "redis": { "version": "7.2", "durability": "Fsync", "config": { "io-threads": "4" } } });
    world.tenant = World::new(fsync.clone()).tenant;
    assert!(restarts(&world) && turns::may_wait(&world.tenant, &world.observed()));
    // Writes would wait for a file that there is not yet.
    let never = json!({ "redis": { "version": "7.2", "persistence": { "appendOnly": "Never" } } });
    let mut world = settled(never);
    world.tenant = World::new(fsync).tenant;
    assert!(restarts(&world) && !turns::may_wait(&world.tenant, &world.observed()));
}

#[test]
fn what_is_taken_live_does_not_wait_and_readers_do() {
    let spec = |config: Value, eviction: &str| {
        json!({
            "redis": { "topology": "Replicated", "config": config, "evictionPolicy": eviction },
            "autoscaling": { "readers": { "minReplicas": 1, "maxReplicas": 2 } },
        })
    };
    let mut world = settled(spec(json!({}), "NoEviction"));
    world.tenant = World::new(spec(json!({ "io-threads": "4" }), "VolatileLru")).tenant;
    assert!(restarts(&world));
    let mut held = desired(&world);
    turns::hold_back(&mut held, &world.observed());
    let file = |objects: &[Object], name: &str| {
        let config = objects.iter().find(|it| it.key.name == names::REDIS_CONFIG).unwrap();
        config.body["data"][name].as_str().unwrap().to_owned()
    };
    assert!(file(&held.objects, "live.conf").contains("volatile-lru"));
    assert!(!file(&held.objects, "redis.conf").contains("io-threads"));
    let applied = applied(&world, &held);
    assert_eq!(
        applied.iter().filter(|it| it.contains("redis")).collect::<Vec<_>>(),
        ["ConfigMap tenant-shop/redis-config"]
    );
}

#[test]
fn what_is_only_left_out_of_a_template_restarts_too() {
    let mut world = settled(json!({}));
    let key = Key { kind: Kind::StatefulSet, namespace: "tenant-shop".into(), name: "redis".into() };
    let mut body = world.objects[&key].body.clone();
    body["spec"]["template"]["spec"]["hostNetwork"] = json!(false);
    world.put(Kind::StatefulSet, body.clone());
    assert!(!restarts(&world), "it may be a default of the API server's");
    body["metadata"]["annotations"][names::TEMPLATE_ANNOTATION] = json!("of another operator");
    world.put(Kind::StatefulSet, body.clone());
    assert!(restarts(&world));
    body["metadata"]["annotations"].as_object_mut().unwrap().remove(names::TEMPLATE_ANNOTATION);
    world.put(Kind::StatefulSet, body);
    assert!(!restarts(&world), "of an operator from before there was a hash");
}

#[test]
fn who_has_no_redis_that_serves_has_nothing_to_wait_for() {
    let changed =
        json!({ "redis": { "config": { "io-threads": "4" } }, "hibernation": { "idleAfter": "30m" } });
    let mut world = settled(json!({}));
    world.tenant = World::new(changed.clone()).tenant;
    assert!(restarts(&world));
    let asleep =
        Sleep { stage: Stage::Asleep, since: Timestamp::UNIX_EPOCH, due: None, generation: None, knocks: 0 };
    world.tenant = World::new(changed.clone()).tenant.sleeping(Some(asleep), true);
    assert!(!restarts(&world));
    // As it is made: no pod is ready.
    let mut world = World::new(json!({}));
    world.settle();
    world.tenant = World::new(changed).tenant;
    assert!(!restarts(&world));
}

#[test]
fn who_waits_for_its_turn_is_looked_after_but_not_restarted() {
    let mut world = settled(json!({}));
    let spec = json!({ "redis": { "config": { "io-threads": "4" } }, "limits": { "maxKeyBytes": 7 } });
    world.tenant = World::new(spec).tenant;
    world.objects.retain(|key, _| key.name != names::DEFAULT_DENY);
    let mut held = desired(&world);
    turns::hold_back(&mut held, &world.observed());
    let first = applied(&world, &held);
    assert!(first.contains(&"NetworkPolicy tenant-shop/default-deny".to_owned()), "{first:?}");
    assert!(!first.contains(&"ConfigMap tenant-shop/redis-config".to_owned()), "{first:?}");
    for step in plan(&world.tenant, &held, &world.observed(), Timestamp::UNIX_EPOCH).steps {
        world.carry_out(step);
    }
    let second = applied(&world, &held);
    assert!(second.contains(&"Secret front/route-shop".to_owned()), "{second:?}");
    assert!(!second.contains(&"StatefulSet tenant-shop/redis".to_owned()), "{second:?}");

    let now = desired(&world);
    assert!(applied(&world, &now).contains(&"ConfigMap tenant-shop/redis-config".to_owned()));
}
