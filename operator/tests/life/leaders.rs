//! Several operators: one acts, and when it is gone at a bad moment the next one finishes.

use std::collections::BTreeMap;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cluster::{Cluster, FRONT, eventually},
    operator::Operator,
    proxy::Proxy,
};

fn names() -> Vec<String> {
    (0..6).map(|number| format!("kst-many-{number}")).collect()
}

async fn secrets(cluster: &Cluster) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for name in names() {
        if let Some(secret) = cluster.secret(&name, "credentials").await {
            found.insert(name, secret["data"].clone());
        }
    }
    found
}

#[tokio::test]
async fn the_next_leader_finishes_what_a_killed_one_has_begun() {
    let Some(cluster) = Cluster::connect().await else { return };
    let first = Operator::leading(&cluster, "first").await;
    for name in names() {
        cluster.apply_tenant(&name, &json!({})).await;
    }
    eventually("the first tenant is half done", async || {
        let found = secrets(&cluster).await;
        if found.is_empty() { Err("no secrets".into()) } else { Ok(()) }
    })
    .await;
    first.kill();
    let made = secrets(&cluster).await;

    let second = Operator::leading(&cluster, "second").await;
    for name in names() {
        cluster.wait_for(&name, "RouteReady", "True").await;
    }
    let complete = secrets(&cluster).await;
    assert_eq!(complete.len(), names().len());
    for (name, secret) in &made {
        assert_eq!(secret, &complete[name], "the secrets of {name} were made anew");
    }

    for name in names() {
        cluster.tenants().delete(&name, &DeleteParams::default()).await.unwrap();
    }
    eventually("a route is gone", async || {
        let left = cluster.names("", "v1", "Secret", FRONT).await.len();
        if left < names().len() { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    second.kill();
    let _third = Operator::leading(&cluster, "third").await;
    for name in names() {
        cluster.wait_gone(&name).await;
        assert!(cluster.get("", "v1", "Namespace", "", &format!("tenant-{name}")).await.is_none());
    }
}

#[tokio::test]
async fn a_standby_does_nothing_until_the_leader_ends_and_then_takes_over_at_once() {
    let Some(cluster) = Cluster::connect().await else { return };
    let leader = Operator::leading(&cluster, "leader").await;
    let standby = Operator::start(&cluster, "standby").await;
    standby.wait_for("standby").await;
    standby.proxy.take();
    cluster.apply_tenant("kst-lead", &json!({})).await;
    cluster.wait_for("kst-lead", "RouteReady", "True").await;
    assert_eq!(standby.proxy.take(), [], "a standby asks for nothing but the lease");
    assert!(standby.figure("keystead_operator_leader").await < 0.5);

    let ended = std::time::Instant::now();
    leader.terminate().await;
    standby.wait_for("leading").await;
    // One that is not given back is taken 10 s after the end at the earliest.
    assert!(ended.elapsed().as_secs() < 10, "it took {:?}: the lease was not given back", ended.elapsed());
    assert!(standby.figure("keystead_operator_leader").await > 0.5);
    cluster.clean_up().await;
}

#[tokio::test]
async fn without_the_definition_it_ends_with_the_sentence_that_installs_it() {
    let Some(cluster) = Cluster::connect().await else { return };
    let folder = TempDir::new().unwrap();
    let proxy = Proxy::start(cluster.client.clone(), folder.path()).await;
    proxy.hide("/apis/keystead.io");
    let mut operator = Operator::start_behind(proxy, folder, "one");
    let status = operator.wait_exit().await;
    assert_eq!(status.code(), Some(1));
    assert!(
        operator.log().contains("kubectl apply --server-side -f crds/yaml/tenants.yaml"),
        "{}",
        operator.log()
    );
}
