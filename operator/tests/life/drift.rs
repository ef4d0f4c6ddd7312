//! What somebody else changes is put back, and what is somebody else's is left alone.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, eventually},
    operator::Operator,
    provisioning::route,
};

const NAME: &str = "kst-drift";
const NAMESPACE: &str = "tenant-kst-drift";

async fn provided(cluster: &Cluster) {
    cluster.apply_tenant(NAME, &json!({})).await;
    cluster.wait_for(NAME, "RouteReady", "True").await;
}

async fn merge(cluster: &Cluster, (group, version, kind): (&str, &str, &str), name: &str, patch: Value) {
    let namespace = (kind != "Namespace").then_some(NAMESPACE);
    let api = cluster.api(group, version, kind, namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

#[tokio::test]
async fn an_edited_stateful_set_is_put_back() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    provided(&cluster).await;
    let patch =
        json!({ "spec": { "replicas": 3, "template": { "spec": { "terminationGracePeriodSeconds": 1 } } } });
    merge(&cluster, ("apps", "v1", "StatefulSet"), "redis", patch).await;
    eventually("the StatefulSet is as it was", async || {
        let set = cluster.get("apps", "v1", "StatefulSet", NAMESPACE, "redis").await.unwrap();
        let found =
            (&set["spec"]["replicas"], &set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]);
        if found == (&json!(1), &json!(60)) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_deleted_service_and_a_deleted_policy_come_back_and_the_gateway_hears_of_the_address() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    provided(&cluster).await;
    let services = cluster.api("", "v1", "Service", Some(NAMESPACE));
    services.delete("redis", &DeleteParams::default()).await.unwrap();
    let policies = cluster.api("networking.k8s.io", "v1", "NetworkPolicy", Some(NAMESPACE));
    policies.delete("default-deny", &DeleteParams::default()).await.unwrap();
    eventually("both are there again, and the route has the address", async || {
        let policy = cluster.get("networking.k8s.io", "v1", "NetworkPolicy", NAMESPACE, "default-deny").await;
        let service = cluster.get("", "v1", "Service", NAMESPACE, "redis").await.unwrap_or_default();
        let address = format!("{}:6379", service["spec"]["clusterIP"].as_str().unwrap_or("none"));
        let told = route(&cluster, NAME).await["redis"]["endpoint"]["address"].clone();
        if policy.is_some() && told == json!(address) { Ok(()) } else { Err(format!("{told} {address}")) }
    })
    .await;
    cluster.clean_up().await;
}

#[tokio::test]
async fn an_opened_policy_is_closed_again() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    provided(&cluster).await;
    merge(
        &cluster,
        ("networking.k8s.io", "v1", "NetworkPolicy"),
        "redis",
        json!({ "spec": { "ingress": [{}] } }),
    )
    .await;
    eventually("the policy is closed", async || {
        let policy =
            cluster.get("networking.k8s.io", "v1", "NetworkPolicy", NAMESPACE, "redis").await.unwrap();
        let from = &policy["spec"]["ingress"][0]["from"];
        if from.is_array() { Ok(()) } else { Err(policy["spec"].to_string()) }
    })
    .await;
    cluster.clean_up().await;
}

#[tokio::test]
async fn changed_labels_are_put_back_and_the_secrets_are_never_made_anew() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    provided(&cluster).await;
    let before = cluster.secret(NAME, "credentials").await.unwrap();
    // Without these labels it is not watched any more.
    let patch = json!({ "metadata": { "labels": {
        "keystead.io/tenant": null, "app.kubernetes.io/managed-by": null, "app.kubernetes.io/name": "other",
    } } });
    merge(&cluster, ("", "v1", "Secret"), "credentials", patch.clone()).await;
    merge(&cluster, ("", "v1", "Secret"), "redis-users", patch.clone()).await;
    merge(
        &cluster,
        ("", "v1", "Namespace"),
        NAMESPACE,
        json!({ "metadata": { "labels": {
        "keystead.io/tenant": null, "pod-security.kubernetes.io/enforce": "privileged",
    } } }),
    )
    .await;
    eventually("the labels are as they were", async || {
        let credentials = cluster.secret(NAME, "credentials").await.unwrap();
        let users = cluster.secret(NAME, "redis-users").await.unwrap();
        let namespace = cluster.get("", "v1", "Namespace", "", NAMESPACE).await.unwrap();
        let labels = |it: &Value| it["metadata"]["labels"].clone();
        let good = labels(&credentials) == labels(&before)
            && labels(&users)["keystead.io/tenant"] == json!(NAME)
            && labels(&namespace)["keystead.io/tenant"] == json!(NAME)
            && labels(&namespace)["pod-security.kubernetes.io/enforce"] == json!("restricted");
        if good { Ok(()) } else { Err(format!("{} {}", labels(&credentials), labels(&namespace))) }
    })
    .await;
    let after = cluster.secret(NAME, "credentials").await.unwrap();
    assert_eq!(after["data"], before["data"]);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    cluster.clean_up().await;
}

#[tokio::test]
async fn fields_of_other_managers_are_left_alone() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    provided(&cluster).await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "redis", "namespace": NAMESPACE, "annotations": { "example.org/mesh": "on" } },
        "spec": { "sessionAffinity": "ClientIP" },
    });
    cluster.apply_as("mesh", &theirs, false).await.unwrap();
    // A change of our own goes past it.
    cluster
        .apply_tenant(
            NAME,
            &json!({ "limits": { "maxKeyBytes": 99 }, "redis": { "config": { "hz": "20" } } }),
        )
        .await;
    eventually("the change has arrived", async || {
        let told = route(&cluster, NAME).await["limits"]["maxKeyBytes"].clone();
        if told == json!(99) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let service = cluster.get("", "v1", "Service", NAMESPACE, "redis").await.unwrap();
    assert_eq!(service["metadata"]["annotations"]["example.org/mesh"], json!("on"));
    assert_eq!(service["spec"]["sessionAffinity"], json!("ClientIP"));
    cluster.clean_up().await;
}

#[tokio::test]
async fn the_number_that_an_autoscaler_sets_is_left_alone() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    provided(&cluster).await;
    let scale = json!({ "spec": { "replicas": 4 } });
    let deployments = cluster.api("apps", "v1", "Deployment", Some(NAMESPACE));
    eventually("there is a worker to scale", async || {
        deployments.get("worker").await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    deployments.patch_scale("worker", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    // A change of the Deployment's template, applied without a number.
    cluster.apply_tenant(NAME, &json!({ "worker": { "concurrency": 3 } })).await;
    eventually("the change has arrived", async || {
        let deployment = deployments.get("worker").await.map_err(|error| error.to_string())?;
        let env = deployment.data["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
        if env.contains("\"3\"") { Ok(()) } else { Err(env) }
    })
    .await;
    let found = deployments.get("worker").await.unwrap().data["spec"]["replicas"].clone();
    // An autoscaler at work may have changed it by now; the operator has not.
    assert_ne!(found, json!(1), "{}", operator.log());
    cluster.clean_up().await;
}
