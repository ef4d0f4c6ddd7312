//! Readers beside the members.

use crate::tenant::{Member, Tenant};

/// It has the key from a member that is a replica.
fn reads(tenant: &Tenant, reader: &Member, key: &str) {
    tenant.wait_for("the reader has it from a replica", |it| {
        let source = reader.info("master_host");
        it.members.iter().any(|member| member.address == source && member.info("role") == "slave")
            && reader.info("master_link_status") == "up"
            && reader.redis(&["GET", key]).text() == key
    });
}

#[test]
fn a_reader_follows_a_replica_also_when_that_is_promoted() {
    let tenant = Tenant::settled(3);
    let reader = tenant.reader();
    let has_moved = || reader.log("redis.log").matches("Follows ").count() > 1;
    // The Sentinels choose whom they promote: it is the one that the reader follows once they have heard that it is preferred.
    for round in 0..10 {
        if has_moved() {
            break;
        }
        let primary = &tenant.members[tenant.settle()];
        let key = format!("round{round}");
        primary.redis(&["SET", &key, &key]);
        reads(&tenant, &reader, &key);
        let source = reader.info("master_host");
        let followed = tenant.members.iter().find(|member| member.address == source).unwrap();
        assert_eq!(followed.redis(&["CONFIG", "SET", "replica-priority", "1"]).text(), "OK");
        assert_eq!(primary.info("connected_slaves"), "2");
        assert!(reader.probe("ready.sh") && reader.probe("alive.sh"));
        primary.redis.as_ref().unwrap().signal("KILL");
        let address = primary.address.clone();
        let asked = &tenant.members[usize::from(address == tenant.members[0].address)];
        tenant.wait_for("another is named", |_| asked.names().is_some_and(|named| named != address));
    }
    let primary = &tenant.members[tenant.settle()];
    primary.redis(&["SET", "last", "last"]);
    reads(&tenant, &reader, "last");
    assert!(has_moved(), "{}", reader.log("redis.log"));
}
