//! A volume that is to grow goes along with everything else, and holds nothing up.

use super::*;

fn put_claim(world: &mut World, pod: &str) {
    let labels = names::labels(&world.tenant.name, None);
    let claim = json!({
        "metadata": { "name": names::claim(pod), "namespace": "tenant-shop", "labels": labels },
        "spec": { "resources": { "requests": { "storage": "1Gi" } } },
        "status": { "phase": "Bound" },
    });
    world.put(Kind::PersistentVolumeClaim, claim);
}

/// What a pass does besides, where a volume does not grow.
fn besides(world: &World) -> Plan {
    let mut plan = world.plan();
    assert!(matches!(&plan.take_growth()[..], [Step::Grow { size, .. }] if size == "3Gi"));
    plan
}

#[test]
fn a_change_is_carried_out_beside_a_volume_that_does_not_grow() {
    let spec = |replicas: i32| json!({ "redis": { "storage": { "size": "3Gi" } }, "worker": { "replicas": replicas } });
    let mut world = World::new(spec(1));
    world.settle();
    put_claim(&mut world, "redis-0");
    assert!(besides(&world).is_empty());
    world.tenant = World::new(spec(2)).tenant;
    let changes =
        |plan: &Plan| plan.steps.iter().any(|it| matches!(it, Step::Apply(it) if it.key.name == "worker"));
    for _ in 0..5 {
        let plan = besides(&world);
        if changes(&plan) {
            return;
        }
        assert!(!plan.is_empty());
        plan.steps.into_iter().for_each(|step| world.carry_out(step));
    }
    panic!("{:?}", world.plan());
}

#[test]
fn who_waits_for_a_member_has_its_volume_grow() {
    let mut world =
        World::new(json!({ "redis": { "topology": "Cluster", "shards": 3, "storage": { "size": "3Gi" } } }));
    for _ in 0..10 {
        world.plan().steps.into_iter().for_each(|step| world.carry_out(step));
    }
    put_claim(&mut world, "redis-shard-0-0");
    assert_eq!(besides(&world).waits_for.as_deref(), Some("waits for the members to be made"));
}
