//! Members fail while clients write: what a replica has acknowledged is never lost.

use keystead_operator::tenant::members::{
    Member,
    cluster::{View, lost_slots},
};

use crate::tenant::Tenant;

/// kill -9 of a primary's process, which is started again at once, and then of its successor.
#[test]
fn a_killed_primary_comes_back_as_a_replica() {
    let tenant = Tenant::formed(3, 1);
    for _ in 0..2 {
        let (primary, replica) = tenant.pair(0);
        let writer = tenant.writer(&format!("killed{primary}"), 1);
        writer.goes_on(300);
        tenant.members[primary].signal("KILL");
        tenant.wait_for("the other is the primary", |it| it.primaries().contains(&replica));
        writer.goes_on(300);
        assert_eq!(tenant.settle()[0], replica);
        tenant.check("killed", &writer.finish());
    }
}

#[test]
fn a_primary_that_lost_its_volume_comes_back_as_a_replica_and_its_former_self_is_forgotten() {
    let mut tenant = Tenant::formed(3, 1);
    let writer = tenant.writer("emptied", 1);
    writer.goes_on(300);
    let (primary, replica) = tenant.pair(0);
    let former = tenant.members[primary].own().unwrap().id;
    tenant.members[primary].kill();
    tenant.members[primary].empty_volume();
    tenant.members[primary].start();
    tenant.wait_for("it is alive", |it| it.members[primary].probe("alive.sh"));
    writer.goes_on(300);
    assert_eq!(tenant.settle()[0], replica);
    let known = |it: &crate::tenant::Member| it.view().iter().any(|line| line.id == former);
    assert!(!tenant.members.iter().any(known), "{}", tenant.logs());
    tenant.check("emptied", &writer.finish());
}

#[test]
fn a_replica_that_lost_its_volume_comes_back() {
    let mut tenant = Tenant::formed(3, 1);
    let writer = tenant.writer("replica", 1);
    writer.goes_on(300);
    let (_, replica) = tenant.pair(1);
    tenant.members[replica].kill();
    tenant.members[replica].empty_volume();
    tenant.members[replica].start();
    writer.goes_on(300);
    tenant.check("replica emptied", &writer.finish());
}

#[test]
fn a_primary_that_hangs_is_replaced_and_follows_when_it_wakes() {
    let tenant = Tenant::formed(3, 1);
    let writer = tenant.writer("hung", 1);
    writer.goes_on(300);
    let (primary, replica) = tenant.pair(0);
    tenant.members[primary].signal("STOP");
    tenant.wait_for("the other is the primary", |it| {
        it.members[replica].own().is_some_and(|own| own.is("master"))
    });
    tenant.members[primary].signal("CONT");
    writer.goes_on(300);
    assert_eq!(tenant.settle()[0], replica);
    tenant.check("hung", &writer.finish());
}

/// Seen once where both ends of a move had failed: everybody sends clients to a primary that does not know of its slot.
#[test]
fn slots_that_only_their_owner_does_not_know_of_come_back() {
    let tenant = Tenant::formed(3, 1);
    let filled = tenant.fill();
    let primary = tenant.settle()[1];
    let owner = &tenant.members[primary];
    let slots = owner.own().unwrap().slots;
    let first: u16 = slots[0].split('-').next().unwrap().parse().unwrap();
    for slot in [first, first + 7, first + 8] {
        assert_eq!(owner.redis(&["CLUSTER", "DELSLOTS", &slot.to_string()]).text(), "OK");
    }
    tenant
        .wait_for("it takes them back", |it| it.members[primary].own().is_some_and(|own| own.slots == slots));
    assert!(owner.log().contains(&format!("Takes slots {first} to {first} back")), "{}", tenant.logs());
    assert_eq!(tenant.settle()[1], primary);
    tenant.check("slots taken back", &filled);
}

#[test]
fn two_shards_lose_a_member_at_once() {
    let mut tenant = Tenant::formed(3, 1);
    let writer = tenant.writer("two", 1);
    writer.goes_on(300);
    // A primary and another shard's replica.
    let places = [tenant.pair(0).0, tenant.pair(1).1];
    for place in places {
        tenant.members[place].kill();
    }
    for place in places {
        tenant.members[place].start();
    }
    writer.goes_on(300);
    assert_ne!(tenant.settle()[0], places[0]);
    tenant.check("two at once", &writer.finish());
}

/// As a pod is deleted: also what no replica acknowledged is there.
#[test]
fn primaries_hand_over_before_they_end() {
    let mut tenant = Tenant::formed(3, 1);
    let writers = [0, 1].map(|replicas| tenant.writer(&format!("handed{replicas}"), replicas));
    for shard in [0, 0, 2] {
        let place = tenant.settle()[shard];
        writers[0].goes_on(300);
        tenant.members[place].end();
        let log = tenant.members[place].log();
        assert!(log.contains("Handed over to"), "{}", tenant.logs());
        tenant.members[place].start();
        writers[0].goes_on(300);
        assert_ne!(tenant.settle()[shard], place);
    }
    for writer in writers {
        tenant.check("handed over", &writer.finish());
    }
}

/// With two replicas one stays when the other takes over.
#[test]
fn a_shard_of_three_loses_its_primary_twice() {
    let mut tenant = Tenant::formed(3, 2);
    let writer = tenant.writer("three", 1);
    writer.goes_on(300);
    let emptied = tenant.settle()[0];
    tenant.members[emptied].kill();
    writer.goes_on(300);
    tenant.members[emptied].empty_volume();
    tenant.members[emptied].start();
    let primary = tenant.settle()[0];
    assert_ne!(primary, emptied);
    tenant.members[primary].signal("KILL");
    tenant.wait_for("another is the primary", |it| it.primaries().iter().any(|it| *it < 3 && *it != primary));
    writer.goes_on(300);
    tenant.check("three", &writer.finish());
}

/// Slots whose data is gone, as the operator sees it.
fn lost(tenant: &Tenant) -> u32 {
    let seen = |member: &crate::tenant::Member| {
        let says = |command: &[&str]| member.redis(command).text().to_owned();
        let nodes = says(&["CLUSTER", "NODES"]);
        Member {
            name: member.name.clone(),
            ip: member.address.clone(),
            says: None,
            version: None,
            names: None,
            knows: nodes.contains("myself").then(|| View::parse(&nodes, &says(&["INFO", "keyspace"]))),
            accepts_next: false,
        }
    };
    lost_slots(&tenant.members.iter().map(seen).collect::<Vec<_>>())
}

#[test]
fn a_shard_that_came_back_without_any_of_its_data_is_known_and_goes_on_when_a_person_says_so() {
    let mut tenant = Tenant::formed(3, 1);
    let filled = tenant.fill();
    assert_eq!(lost(&tenant), 0);
    let (primary, replica) = tenant.pair(1);
    for place in [primary, replica] {
        tenant.members[place].kill();
        tenant.members[place].empty_volume();
    }
    for place in [primary, replica] {
        tenant.members[place].start();
    }
    tenant.wait_for("its slots are known to be lost", |it| lost(it) == 5461);

    // As the troubleshooting says.
    let own: Vec<String> = tenant.members.iter().map(|it| it.own().unwrap().id).collect();
    for member in &tenant.members {
        for line in member.view().iter().filter(|it| !it.slots.is_empty() && !own.contains(&it.id)) {
            assert_eq!(member.redis(&["CLUSTER", "FORGET", &line.id]).text(), "OK");
        }
    }
    tenant.reshape(3);
    tenant.settle();
    assert_eq!(lost(&tenant), 0);
    let mut cluster = tenant.cluster();
    let left = filled.keys.iter().filter(|key| {
        let found = cluster.call(key, &["GET", key], 0);
        found.is_ok_and(|found| found.text() == key.as_str())
    });
    assert_eq!(left.count(), 16384 - 5461, "the other shards have everything");
}
