//! One member fails while clients write: what a replica has acknowledged is never lost.

use crate::tenant::Tenant;

/// kill -9 of the primary's process, which is started again at once, and at once another of its successor.
#[test]
fn a_killed_primary_comes_back_as_a_replica() {
    let tenant = Tenant::settled(3);
    let writer = tenant.writer("killed", 1);
    writer.goes_on(100);
    let mut primary = tenant.members[0].address.clone();
    for _ in 0..2 {
        let place = tenant.addresses().iter().position(|it| *it == primary).unwrap();
        tenant.members[place].redis.as_ref().unwrap().signal("KILL");
        tenant.wait_for("another is named", |it| {
            it.members[1].names().is_some_and(|named| {
                named != primary && {
                    primary = named;
                    true
                }
            })
        });
        writer.goes_on(1);
    }
    writer.goes_on(100);
    tenant.settle();
    assert_eq!(tenant.check("killed", &writer.finish()), 0);
}

#[test]
fn a_primary_that_lost_its_volume_gets_its_data_back() {
    let mut tenant = Tenant::settled(3);
    let writer = tenant.writer("emptied", 1);
    writer.goes_on(100);
    tenant.members[0].kill();
    tenant.members[0].empty_volume();
    tenant.members[0].start();
    writer.goes_on(100);
    assert_ne!(tenant.settle(), 0);
    assert_eq!(tenant.check("emptied", &writer.finish()), 0);
}

#[test]
fn a_primary_that_hangs_is_replaced_and_follows_when_it_wakes() {
    let tenant = Tenant::settled(3);
    let writer = tenant.writer("hung", 1);
    writer.goes_on(100);
    tenant.members[0].redis.as_ref().unwrap().signal("STOP");
    writer.goes_on(500);
    tenant.members[0].redis.as_ref().unwrap().signal("CONT");
    let woken = std::time::Instant::now();
    tenant.wait_for("it follows", |it| it.members[0].info("role") == "slave");
    println!("hung: follows {:.1} s after it woke", woken.elapsed().as_secs_f64());
    writer.goes_on(100);
    assert_ne!(tenant.settle(), 0);
    assert_eq!(tenant.check("hung", &writer.finish()), 0);
}

/// As the Sentinel that leads a failover promotes it: the others still name the one before, which answers as well, as with a full
/// disk. Redis' own Sentinels put right what came of nothing, after 8 s.
#[test]
fn a_replica_that_is_being_promoted_is_left_alone() {
    let tenant = Tenant::settled(3);
    let promoted = &tenant.members[1];
    assert_eq!(promoted.redis(&["REPLICAOF", "NO", "ONE"]).text(), "OK");
    tenant.wait_for("the Sentinels put it back", |it| it.members[1].info("role") == "slave");
    assert!(!promoted.log("sentinel.log").contains("follows it"), "its keeper did: {}", tenant.logs());
    assert_eq!(tenant.settle(), 0);
}

#[test]
fn five_members_lose_two_and_go_on() {
    let mut tenant = Tenant::settled(5);
    let writer = tenant.writer("five", 2);
    writer.goes_on(100);
    tenant.members[4].kill();
    tenant.members[0].kill();
    writer.goes_on(100);
    tenant.members[0].start();
    tenant.members[4].start();
    assert_ne!(tenant.settle(), 0);
    assert_eq!(tenant.check("five", &writer.finish()), 0);
}

/// As a pod is deleted, twice in a row: also what no replica acknowledged is there, and nothing failed.
#[test]
fn a_primary_hands_over_before_it_ends() {
    let mut tenant = Tenant::settled(3);
    let writers = [0, 0, 1].map(|replicas| tenant.writer(&format!("handed{replicas}"), replicas));
    for _ in 0..2 {
        let primary = tenant.settle();
        writers[0].goes_on(100);
        tenant.members[primary].end();
        tenant.members[primary].start();
        writers[0].goes_on(100);
        assert_ne!(tenant.settle(), primary);
        assert!(tenant.members[primary].log("redis.log").contains("Handed over to"), "{}", tenant.logs());
    }
    for writer in writers {
        assert_eq!(tenant.check("handed over", &writer.finish()), 0);
    }
}

#[test]
fn sentinels_may_all_restart_and_one_may_forget() {
    let mut tenant = Tenant::settled(3);
    let writer = tenant.writer("sentinels", 1);
    for member in &tenant.members {
        member.sentinel.as_ref().unwrap().signal("KILL");
    }
    assert_eq!(tenant.settle(), 0);
    tenant.members[1].sentinel = None;
    tenant.members[1].forget_sentinel();
    tenant.members[1].start_sentinel();
    assert_eq!(tenant.settle(), 0);
    tenant.members[0].redis.as_ref().unwrap().signal("KILL");
    tenant.wait_for("another is named", |it| it.members[1].names() != Some(it.members[0].address.clone()));
    writer.goes_on(100);
    assert_ne!(tenant.settle(), 0);
    assert_eq!(tenant.check("sentinels", &writer.finish()), 0);
}
