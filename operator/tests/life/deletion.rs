//! What a deletion leaves, and that it comes to its end.

use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::{
    cluster::{Cluster, FRONT, eventually},
    operator::Operator,
};

#[tokio::test]
async fn delete_leaves_nothing_behind() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    let name = "kst-gone";
    cluster.apply_tenant(name, &json!({})).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    operator.proxy.take();
    cluster.tenants().delete(name, &DeleteParams::default()).await.unwrap();
    cluster.wait_gone(name).await;
    assert!(cluster.get("", "v1", "Namespace", "", "tenant-kst-gone").await.is_none());
    assert!(cluster.get("", "v1", "Secret", FRONT, "route-kst-gone").await.is_none());
    let deleted: Vec<_> = operator.proxy.take().into_iter().filter(|it| it.method == "DELETE").collect();
    assert!(deleted[0].path.contains("/secrets/route-kst-gone"), "the route goes first: {deleted:?}");
}

#[tokio::test]
async fn retain_keeps_the_data_and_a_later_tenant_takes_it_up_again() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let name = "kst-kept";
    let namespace = "tenant-kst-kept";
    let spec = json!({ "deletionPolicy": "Retain" });
    cluster.apply_tenant(name, &spec).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    let secrets = cluster.secret(name, "credentials").await.unwrap();
    eventually("Redis has its claim", async || {
        let claims = cluster.names("", "v1", "PersistentVolumeClaim", namespace).await;
        if claims == ["data-redis-0"] { Ok(()) } else { Err(format!("{claims:?}")) }
    })
    .await;
    let claim = cluster.get("", "v1", "PersistentVolumeClaim", namespace, "data-redis-0").await.unwrap();

    cluster.tenants().delete(name, &DeleteParams::default()).await.unwrap();
    cluster.wait_gone(name).await;
    assert!(cluster.get("", "v1", "Secret", FRONT, "route-kst-kept").await.is_none());
    for (group, version, kind) in [
        ("apps", "v1", "StatefulSet"),
        ("apps", "v1", "Deployment"),
        ("", "v1", "Service"),
        ("networking.k8s.io", "v1", "NetworkPolicy"),
        ("policy", "v1", "PodDisruptionBudget"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ] {
        assert_eq!(cluster.names(group, version, kind, namespace).await, Vec::<String>::new(), "{kind}");
    }
    assert_eq!(cluster.names("", "v1", "Secret", namespace).await, ["credentials"]);
    assert_eq!(cluster.secret(name, "credentials").await.unwrap()["data"], secrets["data"]);
    let kept = cluster.get("", "v1", "PersistentVolumeClaim", namespace, "data-redis-0").await.unwrap();
    assert_eq!(kept["metadata"]["uid"], claim["metadata"]["uid"]);
    assert!(kept["metadata"].get("deletionTimestamp").is_none());

    cluster.apply_tenant(name, &spec).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    assert_eq!(cluster.secret(name, "credentials").await.unwrap()["data"], secrets["data"]);
    assert_eq!(
        cluster.get("", "v1", "PersistentVolumeClaim", namespace, "data-redis-0").await.unwrap()["metadata"]
            ["uid"],
        claim["metadata"]["uid"]
    );
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_deletion_says_what_it_waits_for() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let name = "kst-stuck";
    let namespace = "tenant-kst-stuck";
    cluster.apply_tenant(name, &json!({})).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    // Somebody else's object, with a finalizer that nobody takes off.
    let stuck = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "stuck", "namespace": namespace, "finalizers": ["example.org/hold"] },
    }))
    .unwrap();
    let config_maps = cluster.api("", "v1", "ConfigMap", Some(namespace));
    config_maps.create(&PostParams::default(), &stuck).await.unwrap();
    cluster.tenants().delete(name, &DeleteParams::default()).await.unwrap();
    eventually("the status says what it waits for", async || {
        let tenant = cluster.tenants().get(name).await.map_err(|error| error.to_string())?;
        let status = tenant.status.unwrap_or_default();
        let said = status.conditions.iter().find(|it| it.type_ == "Reconciling").map(|it| it.message.clone());
        let said = said.unwrap_or_default();
        if said.contains("waits for the namespace tenant-kst-stuck") && said.contains("example.org/hold") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    let patch = json!({ "metadata": { "finalizers": null } });
    let params = kube::api::PatchParams::default();
    config_maps.patch("stuck", &params, &kube::api::Patch::Merge(&patch)).await.unwrap();
    cluster.wait_gone(name).await;
}
