//! Shards come and go, with keys in every slot.

use std::{collections::BTreeMap, process::Command, thread, time::Duration};

use crate::tenant::{Member, Tenant};

fn grow(tenant: &mut Tenant, running: usize) {
    tenant.add_shard();
    tenant.members[running..].iter_mut().for_each(Member::start);
}

/// A replica that knows an older epoch of its primary than the others do is never elected.
#[test]
fn what_is_formed_has_epochs_of_which_all_know() {
    let mut tenant = Tenant::new(3, 1);
    tenant.members.iter_mut().for_each(Member::start);
    tenant.reshape(3);
    let epochs = |member: &Member| {
        let owners = member.view().into_iter().filter(|it| it.is("master") && !it.slots.is_empty());
        owners.map(|it| (it.epoch, it.id)).collect::<BTreeMap<_, _>>()
    };
    let known = epochs(&tenant.members[0]);
    assert_eq!(known.len(), 3, "each has another: {known:?}");
    for member in &tenant.members {
        assert_eq!(epochs(member), known, "{}", tenant.logs());
    }
    let (primary, replica) = tenant.pair(0);
    tenant.members[primary].kill();
    tenant.wait_for("the other is the primary", |it| it.primaries().contains(&replica));
}

#[test]
fn shards_come_and_go_and_come_back_on_their_old_volumes() {
    let mut tenant = Tenant::formed(3, 1);
    let filled = tenant.fill();
    let writer = tenant.writer("reshaped", 1);
    for _ in 0..2 {
        grow(&mut tenant, 6);
        tenant.reshape(4);
        tenant.settle();
        tenant.check("grown", &filled);
        tenant.reshape(3);
        tenant.remove_shard();
        tenant.settle();
        tenant.check("shrunk", &filled);
    }
    writer.goes_on(100);
    tenant.check("written meanwhile", &writer.finish());
}

#[test]
fn a_killed_reshaping_goes_on_when_it_is_run_again() {
    let mut tenant = Tenant::formed(3, 1);
    let filled = tenant.fill();
    let writer = tenant.writer("killed", 1);
    grow(&mut tenant, 6);
    for (shards, millis) in
        [(4, 3000), (4, 1500), (4, 2200), (4, 4000), (3, 2500), (3, 1200), (4, 2600), (3, 3300)]
    {
        let mut job = tenant.start_reshape(shards);
        thread::sleep(Duration::from_millis(millis));
        let group = format!("-{}", job.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        job.wait().unwrap();
        writer.goes_on(10);
    }
    tenant.reshape(4);
    tenant.check("killed, then grown", &filled);
    println!("{}", tenant.reshape_said());
    tenant.reshape(3);
    tenant.remove_shard();
    tenant.check("killed, then shrunk", &filled);
    tenant.check("written meanwhile", &writer.finish());
}

/// What is on its way when the job is killed and then a member of the move fails.
#[test]
fn a_slot_that_was_open_when_its_members_failed_loses_nothing() {
    for fails in ["source", "target", "both"] {
        let mut tenant = Tenant::formed(3, 1);
        let filled = tenant.fill();
        grow(&mut tenant, 6);
        let mut job = tenant.start_reshape(4);
        tenant.wait_for("slots are moved", |it| {
            it.primaries().iter().any(|place| it.members[*place].shard == 3)
        });
        let group = format!("-{}", job.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        job.wait().unwrap();
        tenant.note("the job is killed");
        let pair = |shard: usize| {
            let places = (2 * shard)..(2 * shard + 2);
            let primary = tenant.primaries().into_iter().find(|place| places.contains(place)).unwrap();
            (primary, 4 * shard + 1 - primary)
        };
        let ((from, from_heir), (to, to_heir)) = (pair(1), pair(3));
        // Half of a slot more, as a job would leave it that was killed in it.
        let (source, target) = (tenant.members[from].own().unwrap(), tenant.members[to].own().unwrap());
        let slot = source.slots[0].split('-').next().unwrap().to_owned();
        let (source_id, target_id) = (source.id, target.id);
        let slot_number: u16 = slot.parse().unwrap();
        let tag = filled.keys.iter().find(|key| crate::cluster::slot(key) == slot_number).unwrap();
        let keys: Vec<String> = (0..10).map(|number| format!("{{{tag}}}: \"\n\\{number}")).collect();
        let mut cluster = tenant.cluster();
        for key in &keys {
            cluster.call(key, &["SET", key, key], 1).unwrap();
        }
        let (from, to) = (&tenant.members[from], &tenant.members[to]);
        let ok = |reply: crate::client::Reply| assert_eq!(reply.text(), "OK", "{}", tenant.logs());
        ok(to.redis(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]));
        ok(from.redis(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]));
        let mut migrate =
            vec!["MIGRATE", &to.address, "6379", "", "0", "5000", "AUTH2", "tester", "tester", "KEYS"];
        migrate.extend(keys[..5].iter().map(String::as_str));
        ok(from.redis(&migrate));
        tenant.note("half a slot is moved");
        let failing = [("source", from, from_heir), ("target", to, to_heir)];
        for (end, member, heir) in failing {
            if fails == end || fails == "both" {
                member.signal("KILL");
                tenant.wait_for("another is the primary", |it| it.primaries().contains(&heir));
                tenant.note(&format!("the {end} has failed"));
            }
        }
        if fails == "source" {
            let heir = &tenant.members[from_heir];
            tenant.wait_for("its successor sends on for what has gone ahead", |_| {
                heir.redis(&["GET", &keys[0]]).text().starts_with(&format!("ASK {slot} "))
            });
        }
        // It is taken where it has gone. Where both have failed it may be refused until the job has run.
        let anew = fails == "source";
        if anew {
            tenant.wait_for("a key is written anew", |_| {
                cluster.call(&keys[0], &["SET", &keys[0], "newer"], 1).is_ok()
            });
        }
        tenant.note("all is to be mended");
        tenant.reshape(4);
        tenant.note("all is mended");
        let (first, rest) = keys.split_first().unwrap();
        let value = tenant.cluster().call(first, &["GET", first], 0).unwrap();
        assert_eq!(value.text(), if anew { "newer" } else { first.as_str() }, "{fails}: {}", tenant.logs());
        let kept = crate::writer::Account { keys: rest.to_owned(), ..crate::writer::Account::default() };
        tenant.check("half a slot", &kept);
        tenant.check("all slots", &filled);
    }
}
