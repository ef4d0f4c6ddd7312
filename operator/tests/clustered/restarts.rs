//! Everything at once: forming, restarts, ends, other addresses, volumes that are not ours.

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
fn a_new_tenant_is_formed_and_forming_again_changes_nothing() {
    let tenant = Tenant::formed(3, 1);
    tenant.settle();
    let account = written(&tenant);
    tenant.reshape(3);
    assert_eq!(tenant.reshape_said().matches(" gets the slots ").count(), 3);
    assert!(!tenant.reshape_said().contains("Moves "));
    tenant.check("formed", &account);
    for member in &tenant.members {
        assert!(member.probe("ready.sh") && member.probe("alive.sh"), "{}", tenant.logs());
    }
}

#[test]
fn shards_without_replicas_and_with_two_are_formed() {
    for replicas in [0, 2] {
        let tenant = Tenant::formed(3, replicas);
        let account = written(&tenant);
        tenant.check("formed", &account);
    }
}

#[test]
fn nothing_is_formed_over_data() {
    let mut tenant = Tenant::new(3, 0);
    tenant.members.iter_mut().for_each(Member::start);
    tenant.wait_for("it runs", |it| it.members[1].own().is_some());
    let member = &tenant.members[1];
    member.redis(&["CLUSTER", "ADDSLOTS", "0"]);
    tenant.wait_for("it takes keys", |it| it.members[1].redis(&["SET", "{06S}", "1"]).text() == "OK");
    // Its slot is gone with its node configuration; the key is not.
    tenant.members[1].redis(&["CLUSTER", "DELSLOTS", "0"]);
    assert!(!tenant.start_reshape(3).wait().unwrap().success());
    let said = tenant.reshape_said();
    assert!(said.contains("has keys but no slots: nothing is formed over data."), "{said}");
    assert!(tenant.primaries().is_empty());
}

#[test]
fn all_killed_at_once_come_back_in_any_order_with_everything() {
    let mut tenant = Tenant::formed(3, 1);
    for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]] {
        let account = written(&tenant);
        tenant.members.iter_mut().for_each(Member::kill);
        for place in order {
            tenant.members[place].start();
        }
        tenant.check("all killed", &account);
    }
}

#[test]
fn all_killed_after_a_change_of_the_primary_keep_the_change() {
    let mut tenant = Tenant::formed(3, 1);
    let (primary, replica) = tenant.pair(0);
    tenant.members[primary].kill();
    tenant.wait_for("its replica is the primary", |it| it.primaries().contains(&replica));
    let account = written_by_shard_without_replica(&tenant);
    tenant.members.iter_mut().filter(|it| it.node.is_some()).for_each(Member::kill);
    tenant.members.iter_mut().for_each(Member::start);
    assert_eq!(tenant.settle()[0], replica);
    tenant.check("all killed after a change", &account);
}

/// The primary that is alone takes no writes: those of the other shards.
fn written_by_shard_without_replica(tenant: &Tenant) -> Account {
    let mut cluster = tenant.cluster();
    let keys = (0..300).map(|number| format!("others:{number}"));
    let keys = keys.filter(|key| cluster.call(key, &["SET", key, key], 1).is_ok()).collect();
    tenant.flushed();
    Account { keys, ..Account::default() }
}

#[test]
fn all_ended_at_once_keep_everything() {
    let mut tenant = Tenant::formed(3, 1);
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
    tenant.check("all ended", &account);
}

#[test]
fn members_with_other_addresses_know_each_other() {
    let mut tenant = Tenant::formed(3, 1);
    let account = written(&tenant);
    tenant.members.iter_mut().for_each(Member::kill);
    tenant.move_away();
    tenant.members.iter_mut().for_each(Member::start);
    tenant.check("moved", &account);
}

#[test]
fn the_volume_of_another_tenant_is_refused() {
    let mut tenant = Tenant::formed(3, 1);
    tenant.members[1].kill();
    tenant.members[1].start_as("bank");
    tenant.wait_for("the script ends", |it| {
        it.members[1].node.as_ref().unwrap().ended().iter().any(|status| !status.success())
    });
    let log = tenant.members[1].log();
    assert!(log.contains("The volume belongs to tenant shop, not to bank: nothing is started."), "{log}");
}

/// As a tenant that slept, whose `persistence` was changed meanwhile.
#[test]
fn all_that_start_anew_and_are_to_write_another_form_have_everything() {
    let mut tenant = Tenant::formed(3, 0);
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
            tenant.check("another form", account);
        }
    }
}
