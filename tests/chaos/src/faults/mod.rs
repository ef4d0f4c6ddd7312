//! Faults of one tenant on the local cluster: the test runs on the node, as root. Whatever a fault sets up it takes
//! away again, also when the test fails meanwhile.

mod disk;
mod network;
mod operator;
mod pods;
mod processes;

use std::{thread::sleep, time::Duration};

use keystead_cluster::Cluster;
use keystead_e2e::{Tenant, eventually, within};

pub use disk::SmallDisks;

use self::{
    disk::empty,
    network::Partition,
    operator::NoOperator,
    pods::{FORCED, GRACEFUL, delete},
    processes::{Stopped, kill},
};
use crate::members::{Members, Pod};

/// Longer than the Sentinels wait before they act, so that the other side is not merely slow.
const LONG: Duration = Duration::from_secs(15);

/// For a tenant to be whole again: a kubelet waits longer each time before it starts a container that was killed.
pub const PATIENCE: Duration = Duration::from_mins(6);

/// Where faults happen.
#[derive(Clone, Debug)]
pub struct Site {
    pub cluster: Cluster,
    pub members: Members,
}

/// A fault by its name.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub name: &'static str,
    /// Happens to the primary's process alone: what a tenant without durability loses by it is counted too.
    pub of_the_process: bool,
    /// Returns when it is over; the tenant has not recovered by then.
    pub strike: fn(&Site),
}

impl Site {
    pub fn of(tenant: &Tenant) -> Self {
        let cluster = Cluster::attach().expect("the local cluster");
        Self { cluster, members: Members::of(tenant) }
    }

    /// Waits until the tenant is as it was before a fault.
    pub fn settle(&self) {
        within(PATIENCE, "all members are there, and the replicas in step", || self.members.settled());
    }

    fn primary(&self) -> Pod {
        let name = eventually("there is a primary", || self.members.primary());
        self.members.pod(&name).expect("the primary's pod")
    }

    fn replicas(&self) -> Vec<Pod> {
        let names = eventually("there is a primary", || self.members.replicas());
        names.iter().map(|name| self.members.pod(name).expect("a replica's pod")).collect()
    }

    /// Those of all shards.
    fn others(&self, than: &Pod) -> Vec<Pod> {
        let pods = self.members.pods().expect("pods");
        pods.into_iter().filter(|pod| pod.name != than.name).collect()
    }
}

/// 1 s is as long as a busy machine or a slow disk makes a process wait; after 5 s another has taken over, after 20 s the
/// kubelet has noticed too.
fn stop_primary(site: &Site, seconds: u64) {
    let _stopped = Stopped::new(site, &site.primary(), "redis");
    sleep(Duration::from_secs(seconds));
}

impl Fault {
    /// A cluster has none.
    pub fn is_of_sentinels(&self) -> bool {
        self.name.contains("Sentinel")
    }
}

/// The fault that is tried most.
pub const PRIMARY_KILLED: &str = "kill -9 of the primary";

/// Every fault of the suite.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: PRIMARY_KILLED,
        of_the_process: true,
        strike: |site| kill(site, &[site.primary()], "redis"),
    },
    Fault {
        name: "kill -9 of a replica",
        of_the_process: false,
        strike: |site| kill(site, &site.replicas()[..1], "redis"),
    },
    Fault { name: "primary stopped for 1 s", of_the_process: true, strike: |site| stop_primary(site, 1) },
    Fault { name: "primary stopped for 5 s", of_the_process: true, strike: |site| stop_primary(site, 5) },
    Fault { name: "primary stopped for 20 s", of_the_process: true, strike: |site| stop_primary(site, 20) },
    Fault {
        name: "kill -9 of one Sentinel",
        of_the_process: false,
        strike: |site| kill(site, &site.replicas()[..1], "sentinel"),
    },
    Fault {
        name: "kill -9 of all Sentinels",
        of_the_process: false,
        strike: |site| kill(site, &site.members.pods().expect("pods"), "sentinel"),
    },
    Fault {
        name: "primary's pod deleted",
        of_the_process: false,
        strike: |site| delete(site, &[site.primary()], GRACEFUL),
    },
    Fault {
        name: "primary's pod deleted by force",
        of_the_process: false,
        strike: |site| delete(site, &[site.primary()], FORCED),
    },
    Fault {
        name: "primary's pod deleted by force, its volume emptied",
        of_the_process: false,
        strike: |site| {
            let primary = site.primary();
            // Frozen, so that it writes nothing to the emptied volume; the kubelet's SIGKILL ends it all the same.
            let containers = primary.containers();
            let frozen: Vec<_> =
                containers.iter().map(|container| Stopped::new(site, &primary, container)).collect();
            empty(site, &primary);
            delete(site, &[primary], FORCED);
            frozen.into_iter().for_each(Stopped::until_it_is_killed);
        },
    },
    Fault {
        name: "all pods deleted",
        of_the_process: false,
        strike: |site| delete(site, &site.members.pods().expect("pods"), GRACEFUL),
    },
    Fault {
        name: "all pods deleted by force",
        of_the_process: false,
        strike: |site| delete(site, &site.members.pods().expect("pods"), FORCED),
    },
    Fault {
        name: "primary cut off from the other members for 15 s",
        of_the_process: false,
        strike: |site| {
            let primary = site.primary();
            let others = site.others(&primary);
            let _partition = Partition::between(&[primary], &others);
            sleep(LONG);
        },
    },
    Fault {
        name: "primary cut off from the gateway for 15 s",
        of_the_process: false,
        strike: |site| {
            let _partition = Partition::from_addresses(&[site.primary()], &operator::gateway_addresses());
            sleep(LONG);
        },
    },
    Fault {
        name: "kill -9 of the primary without an operator",
        of_the_process: false,
        strike: |site| {
            let _nobody = NoOperator::new();
            kill(site, &[site.primary()], "redis");
            site.settle();
        },
    },
    Fault {
        name: "kubelet killed and started again",
        of_the_process: false,
        strike: |site| site.cluster.restart_kubelet().expect("restarting the kubelet"),
    },
];
