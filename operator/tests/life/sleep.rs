//! Sleep, as far as it needs no Redis: what of a tenant is at zero, and what wakes it. That it has fallen asleep is written into
//! its route here, where an operator would have found it after a restart.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use keystead_crds::Phase;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, FRONT, eventually, has_nodes},
    operator::Operator,
};

const ANNOTATION: &str = "keystead.io/sleep";

/// What is kept of its sleep.
async fn sleep_of(cluster: &Cluster, name: &str) -> Value {
    let route = cluster.get("", "v1", "Secret", FRONT, &format!("route-{name}")).await;
    let text = route.and_then(|it| Some(it["metadata"]["annotations"][ANNOTATION].as_str()?.to_owned()));
    text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

async fn replicas(cluster: &Cluster, namespace: &str, kind: &str, name: &str) -> Value {
    let found = cluster.get("apps", "v1", kind, namespace, name).await;
    found.map_or(Value::Null, |it| it["spec"]["replicas"].clone())
}

/// Writes that it fell asleep as it is now.
async fn put_to_sleep(cluster: &Cluster, name: &str) {
    let generation = cluster.tenants().get(name).await.unwrap().metadata.generation;
    let sleep = json!({"stage": "Asleep", "since": "2024-01-01T00:00:00Z", "generation": generation});
    let patch = json!({"metadata": {"annotations": {ANNOTATION: sleep.to_string()}}});
    let secrets = cluster.api("", "v1", "Secret", Some(FRONT));
    let route = format!("route-{name}");
    secrets.patch(&route, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let namespace = format!("tenant-{name}");
    eventually("no pod is wanted, and nobody scales", async || {
        let redis = replicas(cluster, &namespace, "StatefulSet", "redis").await;
        let worker = replicas(cluster, &namespace, "Deployment", "worker").await;
        let scalers = cluster.names("autoscaling", "v2", "HorizontalPodAutoscaler", &namespace).await;
        if redis == json!(0) && worker == json!(0) && scalers.is_empty() {
            Ok(())
        } else {
            Err(format!("{redis} {worker} {scalers:?}"))
        }
    })
    .await;
    eventually("it says that it sleeps, and that all is as it was asked for", async || {
        let status = cluster.tenants().get(name).await.unwrap().status.unwrap_or_default();
        let sleeps = |it: &Condition| it.type_ == "Ready" && it.status == "True" && it.reason == "Sleeping";
        let is_asleep = status.phase == Some(Phase::Sleeping) && status.conditions.iter().any(sleeps);
        if is_asleep { Ok(()) } else { Err(format!("{status:#?}")) }
    })
    .await;
}

async fn woken(cluster: &Cluster, name: &str, members: i32) {
    let namespace = format!("tenant-{name}");
    eventually("its pods are wanted again", async || {
        let redis = replicas(cluster, &namespace, "StatefulSet", "redis").await;
        let worker = replicas(cluster, &namespace, "Deployment", "worker").await;
        if redis == json!(members) && worker != json!(0) { Ok(()) } else { Err(format!("{redis} {worker}")) }
    })
    .await;
    let stage = sleep_of(cluster, name).await["stage"].clone();
    // Without a node no Redis answers, and it is not awake before one does.
    let expected = if has_nodes(cluster).await { vec!["Waking", "Awake"] } else { vec!["Waking"] };
    assert!(expected.iter().any(|it| stage == *it), "{stage}");
}

/// What a gateway makes.
async fn call(cluster: &Cluster, name: &str, tenant: &str) {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/managed-by": "keystead-operator", "keystead.io/tenant": tenant,
        }},
    });
    let config_maps = cluster.api("", "v1", "ConfigMap", Some(FRONT));
    config_maps.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
}

async fn call_is_gone(cluster: &Cluster, name: &str) {
    eventually("the call is heeded", async || match cluster.get("", "v1", "ConfigMap", FRONT, name).await {
        None => Ok(()),
        Some(_) => Err(format!("{name} is there")),
    })
    .await;
}

#[tokio::test]
async fn a_call_wakes_a_tenant_and_nothing_is_left_of_it() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    let name = "kst-sleepy";
    cluster.apply_tenant(name, &json!({"hibernation": {"idleAfter": "1h"}})).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    eventually("it is kept that it is awake", async || {
        let sleep = sleep_of(&cluster, name).await;
        if sleep["stage"] == "Awake" { Ok(()) } else { Err(sleep.to_string()) }
    })
    .await;
    put_to_sleep(&cluster, name).await;
    let claims = cluster.names("", "v1", "PersistentVolumeClaim", &format!("tenant-{name}")).await;
    assert_eq!(claims, ["data-redis-0"]);

    call(&cluster, &format!("wake-{name}"), name).await;
    woken(&cluster, name, 1).await;
    call_is_gone(&cluster, &format!("wake-{name}")).await;
    // Who comes too late leaves nothing behind.
    call(&cluster, &format!("knock-{name}"), name).await;
    call_is_gone(&cluster, &format!("knock-{name}")).await;
    assert!(!operator.log().contains("ERROR"), "{}", operator.log());
    cluster.clean_up().await;
}

#[tokio::test]
async fn members_sleep_and_wake_together_and_a_changed_spec_wakes_them() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let name = "kst-dozy";
    let spec = |bytes: i32| {
        json!({
            "hibernation": {"idleAfter": "1h"},
            "redis": {"topology": "Replicated"},
            "limits": {"maxKeyBytes": bytes},
        })
    };
    cluster.apply_tenant(name, &spec(200)).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    put_to_sleep(&cluster, name).await;
    cluster.apply_tenant(name, &spec(100)).await;
    woken(&cluster, name, 3).await;

    put_to_sleep(&cluster, name).await;
    cluster.tenants().delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    cluster.wait_gone(name).await;
    cluster.clean_up().await;
}
