//! What the operator sees of the use of a Replicated tenant: at the primary, whoever that is.

use keystead_crds::Topology;
use keystead_operator::usage::{
    Usage,
    ask::{NoUsage, Target, ask},
};

use crate::{pod::password, tenant::Tenant};

fn look(tenant: &Tenant) -> Result<Usage, NoUsage> {
    let target = Target {
        topology: Topology::Replicated,
        addresses: tenant.members.iter().map(|it| (it.name.clone(), it.address.clone())).collect(),
        shards: Vec::new(),
        password: password("monitor", "1").as_str().into(),
        ca: None,
    };
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&target, u64::try_from(now.as_millis()).unwrap()))
}

#[test]
fn what_is_used_is_asked_of_the_primary_also_after_another_has_become_it() {
    let mut tenant = Tenant::settled(3);
    let first = tenant.settle();
    tenant.members[first].redis(&["ZADD", "kv:{0}:i", "0", "a", "0", "b"]);
    tenant.members[first].redis(&["ZADD", "jobs:{j}:ready", "1000", "job"]);
    tenant.wait_for("the primary tells", |it| look(it).is_ok());
    let used = look(&tenant).unwrap();
    assert_eq!((used.keys, used.jobs.waiting, used.jobs.oldest), (2, 1, Some(1000)));
    assert!(used.totals.replication_lag_bytes.is_some(), "{used:?}");

    tenant.members[first].end();
    tenant.members[first].start();
    let next = tenant.settle();
    assert_ne!(next, first);
    tenant.members[next].redis(&["ZADD", "kv:{0}:i", "0", "c"]);
    tenant.wait_for("the next primary tells", |it| look(it).is_ok_and(|used| used.keys == 3));
    tenant.check_denials();
}
