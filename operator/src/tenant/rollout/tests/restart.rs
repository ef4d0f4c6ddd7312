//! What gateways are told of a single Redis that is restarted.

use super::{waiting::desired_until, *};
use crate::tenant::rollout::restart::until as told_until;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn until(world: &World, now: i64) -> Option<Timestamp> {
    let observed = world.observed();
    let restarts = turns::restarts(&world.tenant, &desired_until(world, None), &observed);
    told_until(&world.tenant, restarts, &observed, at(now))
}

/// One whose Redis serves.
fn serving(spec: Value) -> World {
    let mut world = World::new(spec);
    world.settle();
    say(&mut world, "a");
    world
}

/// Its pod is ready; the template has this revision.
fn say(world: &mut World, revision: &str) {
    let key = Key { kind: Kind::StatefulSet, namespace: "tenant-shop".into(), name: "redis".into() };
    let mut body = world.objects[&key].body.clone();
    body["status"] = json!({
        "observedGeneration": 1, "readyReplicas": 1, "currentRevision": "a", "updateRevision": revision,
    });
    world.put(Kind::StatefulSet, body);
}

#[test]
fn requests_wait_from_before_it_goes_until_it_is_back() {
    let mut world = serving(json!({}));
    assert_eq!(until(&world, 1000), None);
    world.tenant = World::new(json!({ "redis": { "version": "7.0" } })).tenant;
    assert_eq!(until(&world, 1000), Some(at(1060)));
    world.done.clear();
    for _ in 0..5 {
        let desired = desired_until(&world, until(&world, 1000));
        for step in plan(&world.tenant, &desired, &world.observed(), at(1000)).steps {
            world.carry_out(step);
        }
    }
    let position = |name: &str| world.done.iter().position(|it| it == name).unwrap();
    let (told, restarted) = (position("Secret front/route-shop"), position("StatefulSet tenant-shop/redis"));
    assert!(told < restarted, "{:?}", world.done);
    assert_eq!(until(&world, 1010), Some(at(1060)), "no pod is ready");
    say(&mut world, "b");
    assert_eq!(until(&world, 1020), Some(at(1060)), "it is the pod of before");
    assert_eq!(until(&world, 1060), None, "it may not come back at all");
    say(&mut world, "a");
    assert_eq!(until(&world, 1009), Some(at(1060)), "the nodes may not know of it yet");
    assert_eq!(until(&world, 1030), None);
    let route = desired_until(&world, None);
    let steps = plan(&world.tenant, &route, &world.observed(), at(1030)).steps;
    assert!(matches!(&steps[..], [Step::Apply(object)] if object.key.name == "route-shop"), "{steps:?}");
}

#[test]
fn nobody_waits_where_nobody_is_served_or_another_serves() {
    let change = json!({ "suspend": true, "redis": { "version": "7.0" } });
    let mut world = serving(json!({}));
    world.tenant = World::new(change).tenant;
    assert_eq!(until(&world, 1000), None);
    let mut world = serving(json!({ "redis": { "topology": "Replicated" } }));
    world.tenant = World::new(json!({ "redis": { "topology": "Replicated", "version": "7.0" } })).tenant;
    assert_eq!(until(&world, 1000), None);
}
