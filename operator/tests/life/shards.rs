//! Tenants of several shards: their objects, and what is waited for where no pod can run.

use keystead_crds::condition;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, eventually, has_nodes},
    operator::Operator,
};

fn cluster_of(shards: u8) -> Value {
    json!({ "redis": { "topology": "Cluster", "shards": shards }, "worker": { "replicas": 0 } })
}

async fn names(cluster: &Cluster, kind: (&str, &str, &str), namespace: &str, wanted: &[&str]) {
    eventually(&format!("{} {wanted:?}", kind.2), async || {
        let mut found = cluster.names(kind.0, kind.1, kind.2, namespace).await;
        found.retain(|name| name.starts_with("redis-shard"));
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_tenant_of_shards_gets_each_with_its_objects_and_no_job_before_its_members_run() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    let name = "kst-shards";
    let namespace = format!("tenant-{name}");
    cluster.apply_tenant(name, &cluster_of(3)).await;
    cluster.wait_for(name, "RouteReady", "True").await;

    let sets = ["redis-shard-0", "redis-shard-1", "redis-shard-2"];
    names(&cluster, ("apps", "v1", "StatefulSet"), &namespace, &sets).await;
    names(&cluster, ("policy", "v1", "PodDisruptionBudget"), &namespace, &sets).await;
    let pods: Vec<String> = sets.iter().flat_map(|set| [format!("{set}-0"), format!("{set}-1")]).collect();
    let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
    names(&cluster, ("", "v1", "Service"), &namespace, &pods).await;
    let config = cluster.get("", "v1", "ConfigMap", &namespace, "redis-config").await.unwrap();
    let list = config["data"]["members"].as_str().unwrap();
    assert_eq!(list.lines().count(), 6, "{list}");
    let service = cluster.get("", "v1", "Service", &namespace, "redis-shard-2-1").await.unwrap();
    let ip = service["spec"]["clusterIP"].as_str().unwrap();
    assert_eq!(list.lines().last(), Some(format!("redis-shard-2-1 {ip} 2").as_str()));

    if has_nodes(&cluster).await {
        cluster.wait_for(name, "Ready", "True").await;
        cluster.clean_up().await;
        return;
    }
    let tenant = cluster.wait_for(name, "RedisAvailable", "False").await;
    let conditions = tenant.status.unwrap().conditions;
    let reconciling = conditions.iter().find(|it| it.type_ == condition::RECONCILING).unwrap();
    assert!(reconciling.message.starts_with("waits for "), "{reconciling:?}");
    assert_eq!(cluster.names("batch", "v1", "Job", &namespace).await, Vec::<String>::new());

    // A fourth comes at once; it does not go before somebody has said that it is empty.
    cluster.apply_tenant(name, &cluster_of(4)).await;
    let four = [&sets[..], &["redis-shard-3"]].concat();
    names(&cluster, ("apps", "v1", "StatefulSet"), &namespace, &four).await;
    let generation = cluster.apply_tenant(name, &cluster_of(3)).await.metadata.generation;
    eventually("the operator has seen the change", async || {
        let status = cluster.tenants().get(name).await.unwrap().status.unwrap_or_default();
        if status.observed_generation == generation { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    names(&cluster, ("apps", "v1", "StatefulSet"), &namespace, &four).await;
    assert!(!operator.log().contains("ERROR"), "{}", operator.log());
    cluster.clean_up().await;
}
