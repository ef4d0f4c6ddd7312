//! Everything at once: ends, restarts, first starts with somebody missing, lost volumes.

use std::thread;

use crate::{
    pod::append_only,
    tenant::{Member, Tenant},
    writer::Account,
};

/// Writes a little, also what no replica has acknowledged.
fn written(tenant: &Tenant) -> Account {
    let writer = tenant.writer("kept", 0);
    writer.goes_on(300);
    let account = writer.finish();
    tenant.flushed();
    account
}

#[test]
fn all_killed_at_once_come_back_in_any_order_with_everything() {
    let mut tenant = Tenant::settled(3);
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let account = written(&tenant);
        let primary = tenant.settle();
        tenant.members.iter_mut().for_each(Member::kill);
        for place in order {
            tenant.members[place].start();
        }
        assert_eq!(tenant.settle(), primary);
        assert_eq!(tenant.check("all killed", &account), 0);
    }
}

#[test]
fn replicas_wait_for_the_primary_that_starts_last() {
    let mut tenant = Tenant::settled(3);
    let account = written(&tenant);
    tenant.members.iter_mut().for_each(Member::kill);
    tenant.members[1].start();
    tenant.members[2].start();
    tenant.wait_for("both follow the one that is away", |it| {
        it.members[1..].iter().all(|member| member.info("master_link_status") == "down")
    });
    tenant.members[0].start();
    assert_eq!(tenant.settle(), 0);
    assert_eq!(tenant.check("primary last", &account), 0);
}

#[test]
fn all_killed_at_once_with_a_volume_lost_keep_everything() {
    let mut tenant = Tenant::settled(3);
    let account = written(&tenant);
    tenant.members.iter_mut().for_each(Member::kill);
    tenant.members[1].empty_volume();
    for place in [1, 2, 0] {
        tenant.members[place].start();
    }
    assert_eq!(tenant.settle(), 0);
    assert_eq!(tenant.check("all killed, a replica emptied", &account), 0);
}

/// A Tenant that was deleted with its data retained, and made anew: its Services have other addresses.
#[test]
fn members_with_other_addresses_know_each_other_and_who_was_the_primary() {
    let mut tenant = Tenant::settled(3);
    tenant.members[0].kill();
    tenant.wait_for("another is the primary", |it| {
        it.members[1..].iter().any(|it| it.info("role") == "master")
    });
    tenant.members[0].start();
    let primary = tenant.settle();
    assert_ne!(primary, 0);
    let account = written(&tenant);
    tenant.members.iter_mut().for_each(Member::kill);
    tenant.move_away();
    tenant.members.iter_mut().for_each(Member::start);
    assert_eq!(tenant.settle(), primary);
    assert_eq!(tenant.check("moved", &account), 0);
}

/// Nobody knows who has everything: that is for a person to say.
#[test]
fn an_empty_primary_does_not_resume_while_others_have_data() {
    let mut tenant = Tenant::settled(3);
    let account = written(&tenant);
    tenant.members.iter_mut().for_each(Member::kill);
    tenant.members[0].empty_volume();
    tenant.members.iter_mut().for_each(Member::start);
    tenant.wait_for("it says why", |it| it.members[0].log("redis.log").contains("which has no data"));
    tenant.wait_for("the others have loaded", |it| it.members[1].info("loading") == "0");
    tenant.members[1].redis(&["CONFIG", "SET", "replica-priority", "100"]);
    tenant.wait_for("it takes over", |it| it.members[1].info("role") == "master");
    // On a machine with much to do a second failover may follow, also to the first once that has the data again.
    tenant.settle();
    assert_eq!(tenant.check("all killed, the primary emptied", &account), 0);
}

#[test]
fn all_ended_at_once_keep_everything() {
    let mut tenant = Tenant::settled(3);
    for _ in 0..2 {
        let writer = tenant.writer("ended", 0);
        writer.goes_on(300);
        let began = std::time::Instant::now();
        thread::scope(|scope| {
            for member in &mut tenant.members {
                scope.spawn(|| member.end());
            }
        });
        println!("all ended after {:.1} s", began.elapsed().as_secs_f64());
        let account = writer.finish();
        tenant.members.iter_mut().for_each(Member::start);
        assert_eq!(tenant.check("all ended", &account), 0);
    }
}

#[test]
fn a_first_start_waits_for_every_member() {
    let mut tenant = Tenant::new(3);
    tenant.members[0].start();
    tenant.members[1].start();
    tenant.wait_for("both wait", |it| {
        let waits = "Sentinel knows no primary and waits for the others: 2 of 3 answer";
        it.members[..2].iter().all(|member| member.log("sentinel.log").contains(waits))
    });
    assert!(tenant.members[0].probe("alive.sh"));
    assert!(!tenant.members[0].probe("ready.sh"));
    tenant.members[2].start();
    assert_eq!(tenant.settle(), 0);
}

#[test]
fn the_volume_of_another_tenant_is_refused() {
    let mut tenant = Tenant::settled(3);
    tenant.members[2].kill();
    tenant.members[2].start_as("bank");
    tenant.wait_for("both scripts end", |it| {
        let ended = |container: &Option<crate::process::Container>| {
            container.as_ref().unwrap().ended().iter().any(|status| !status.success())
        };
        ended(&it.members[2].redis) && ended(&it.members[2].sentinel)
    });
    for log in ["redis.log", "sentinel.log"] {
        let log = tenant.members[2].log(log);
        assert!(log.contains("The volume belongs to tenant shop, not to bank: nothing is started."), "{log}");
    }
}

/// As a tenant that slept, whose `persistence` was changed meanwhile.
#[test]
fn all_that_start_anew_and_are_to_write_another_form_have_everything() {
    let mut tenant = Tenant::settled(3);
    let mut accounts = Vec::new();
    for wished in ["no", "yes", "no"] {
        accounts.push(written(&tenant));
        for member in &tenant.members {
            assert_eq!(member.redis(&["SAVE"]).text(), "OK");
        }
        tenant.members.iter_mut().for_each(Member::kill);
        append_only(tenant.folder.path(), wished);
        tenant.members.iter_mut().for_each(Member::start);
        for account in &accounts {
            assert_eq!(tenant.check("another form", account), 0);
        }
    }
}

/// Where the primary sends it what was written since the copy only after its next word, no write is confirmed for up to a second.
#[test]
fn a_replica_that_comes_back_goes_on_at_once_where_its_copy_ends() {
    let mut tenant = Tenant::settled(3);
    let writer = tenant.writer("back", 1);
    writer.goes_on(100);
    let count = |it: &Tenant, field: &str| it.members[0].info(field).parse::<u64>().unwrap();
    let copies = count(&tenant, "sync_full");
    let again = count(&tenant, "sync_partial_ok");
    tenant.members[1].kill();
    tenant.members[1].start();
    tenant.wait_for("it has connected anew", |it| count(it, "sync_partial_ok") > again);
    writer.goes_on(100);
    assert_eq!(tenant.settle(), 0);
    assert_eq!(count(&tenant, "sync_full"), copies + 1, "one copy is enough");
    assert_eq!(tenant.check("back", &writer.finish()), 0);
}
