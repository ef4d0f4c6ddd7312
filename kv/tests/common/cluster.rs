//! A real Redis Cluster with the users that it has in Kubernetes.

use std::collections::BTreeMap;

use keystead_kv::{ConnectOptions, Connection, Put, acl};
use keystead_route::Durability;
use keystead_tests::cluster::Cluster;

use super::{PASSWORD, put, replicated::options};

pub fn cluster(shards: usize, spare: usize, replicas: usize) -> Cluster {
    let rules = |own: &str| [own, acl::CLUSTER].join(" ");
    Cluster::start(
        shards,
        spare,
        replicas,
        &[
            &format!("user gateway on >{PASSWORD} {}", rules(acl::GATEWAY)),
            &format!("user worker on >{PASSWORD} {}", rules(acl::WORKER)),
        ],
    )
}

pub fn options_of(cluster: &Cluster, durability: Durability) -> ConnectOptions {
    options(cluster.endpoint(), durability)
}

pub fn connect(cluster: &Cluster, durability: Durability) -> Connection {
    Connection::open(options_of(cluster, durability)).unwrap()
}

pub fn tagged(value: &str, name: &str, of: &str) -> Put {
    Put { tags: BTreeMap::from([(name.to_owned(), of.to_owned())]), ..put(value) }
}

/// As the worker, who may listen.
pub fn connect_worker(cluster: &Cluster) -> Connection {
    let mut options = options_of(cluster, Durability::Async);
    options.username = Some("worker".into());
    Connection::open(options).unwrap()
}
