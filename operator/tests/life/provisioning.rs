//! From a Tenant to everything that it is made of, and what is said on the way.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, FRONT, eventually, has_nodes, manifest},
    operator::Operator,
};

async fn comes_to_rest(operator: &Operator) {
    eventually("the operator asks for nothing more", async || {
        operator.proxy.take();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let asked = operator.proxy.take();
        if asked.is_empty() { Ok(()) } else { Err(format!("{asked:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_tenant_becomes_all_that_it_is_made_of_and_a_second_apply_changes_nothing() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    let name = "kst-whole";
    let text = manifest(name, &json!({})).to_string();
    let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &text);
    assert!(done && said.contains("created"), "{said}");
    cluster.wait_for(name, "RouteReady", "True").await;

    let namespace = format!("tenant-{name}");
    for (group, version, kind, expected) in [
        ("", "v1", "Service", vec!["redis", "redis-headless"]),
        ("", "v1", "Secret", vec!["credentials", "redis-users"]),
        ("apps", "v1", "StatefulSet", vec!["redis"]),
        ("apps", "v1", "Deployment", vec!["worker"]),
        ("autoscaling", "v2", "HorizontalPodAutoscaler", vec!["worker"]),
        ("policy", "v1", "PodDisruptionBudget", vec!["redis", "worker"]),
        ("networking.k8s.io", "v1", "NetworkPolicy", vec!["default-deny", "redis", "worker"]),
    ] {
        eventually(&format!("{kind} of {name}"), async || {
            let found = cluster.names(group, version, kind, &namespace).await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
    let shown = cluster.get("", "v1", "Namespace", "", &namespace).await.unwrap();
    assert_eq!(shown["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");

    let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &text);
    assert!(done && said.contains("unchanged"), "{said}");
    let (same, difference) = cluster.kubectl(&["diff", "-f", "-"], &text);
    assert!(same, "{difference}");

    if has_nodes(&cluster).await {
        cluster.wait_for(name, "RedisAvailable", "True").await;
        let tenant = cluster.tenants().get(name).await.unwrap();
        assert_eq!(tenant.status.unwrap().redis.unwrap().primary.as_deref(), Some("redis-0"));
    }
    assert!(!operator.log().contains("ERROR"), "{}", operator.log());
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_pass_that_changes_nothing_asks_for_nothing() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    let name = "kst-idle";
    cluster.apply_tenant(name, &json!({ "worker": { "replicas": 0 } })).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    if has_nodes(&cluster).await {
        cluster.wait_for(name, "Ready", "True").await;
        eventually("what it uses is told, once", async || {
            let tenant = cluster.tenants().get(name).await.map_err(|error| error.to_string())?;
            let usage = tenant.status.unwrap_or_default().usage;
            if usage.is_some_and(|usage| usage.memory_bytes > 0) { Ok(()) } else { Err(operator.log()) }
        })
        .await;
    }
    comes_to_rest(&operator).await;

    // Something of the tenant changes that is none of the operator's business: there is a pass, and nothing to do in it.
    let before = operator.figure("keystead_operator_reconciles_total").await;
    for round in 0..3 {
        let patch = json!({ "metadata": { "labels": { "example.org/round": round.to_string() } } });
        let services = cluster.api("", "v1", "Service", Some(&format!("tenant-{name}")));
        services.patch("redis", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        let wanted = before + f64::from(round + 1);
        eventually("a pass over the tenant", async || {
            let now = operator.figure("keystead_operator_reconciles_total").await;
            if now >= wanted { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(operator.proxy.take(), [], "an idle pass asks the API server for nothing");
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_suspended_tenant_loses_its_worker_and_keeps_its_data() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let name = "kst-pause";
    let namespace = format!("tenant-{name}");
    cluster.apply_tenant(name, &json!({ "worker": { "replicas": 2 } })).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    let replicas = async || {
        let deployment = cluster.get("apps", "v1", "Deployment", &namespace, "worker").await;
        deployment.map_or(json!(null), |it| it["spec"]["replicas"].clone())
    };
    eventually("the least number of pods, though the autoscaler owns it", async || {
        let found = replicas().await;
        if found == json!(2) { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    let secrets = cluster.secret(name, "credentials").await.unwrap()["data"].clone();

    cluster.apply_tenant(name, &json!({ "suspend": true, "worker": { "replicas": 2 } })).await;
    eventually("no worker, no autoscaler", async || {
        let autoscalers = cluster.names("autoscaling", "v2", "HorizontalPodAutoscaler", &namespace).await;
        let found = replicas().await;
        if found == json!(0) && autoscalers.is_empty() {
            Ok(())
        } else {
            Err(format!("{found} {autoscalers:?}"))
        }
    })
    .await;
    eventually("the gateway is told", async || {
        let route = route(&cluster, name).await;
        if route["suspended"] == json!(true) { Ok(()) } else { Err("not suspended".into()) }
    })
    .await;
    let redis = cluster.get("apps", "v1", "StatefulSet", &namespace, "redis").await.unwrap();
    assert_eq!(redis["spec"]["replicas"], json!(1));
    if has_nodes(&cluster).await {
        let tenant = cluster.wait_for(name, "Ready", "True").await;
        assert_eq!(tenant.status.unwrap().phase, Some(keystead_crds::Phase::Suspended));
    }

    cluster.apply_tenant(name, &json!({ "worker": { "replicas": 2 } })).await;
    eventually("the worker is back", async || {
        let found = replicas().await;
        if found == json!(2) { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    assert_eq!(cluster.secret(name, "credentials").await.unwrap()["data"], secrets);
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_spec_that_cannot_be_carried_out_is_stalled_with_what_to_do() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    cluster.apply_tenant("kst-wrong", &json!({ "redis": { "version": "9.9" } })).await;
    let tenant = cluster.wait_for("kst-wrong", "Stalled", "True").await;
    let status = tenant.status.unwrap();
    let ready = status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert_eq!(ready.reason, "InvalidSpec");
    assert!(
        ready.message.starts_with("the operator has no image for redis.version 9.9"),
        "{}",
        ready.message
    );
    assert!(cluster.get("", "v1", "Namespace", "", "tenant-kst-wrong").await.is_none());

    // It waits for a change, and asks for nothing meanwhile.
    comes_to_rest(&operator).await;

    let (_, events) = cluster.kubectl(&["get", "events", "-n", "default", "-o", "json"], "");
    let events: Value = serde_json::from_str(&events).unwrap();
    let about = |it: &&Value| it["involvedObject"]["uid"] == json!(tenant.metadata.uid);
    let reasons: Vec<_> =
        events["items"].as_array().unwrap().iter().filter(about).map(|it| &it["reason"]).collect();
    assert_eq!(reasons, ["InvalidSpec"]);
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_tenant_whose_new_spec_is_refused_goes_on_as_of_the_one_before() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    let name = "kst-refused";
    let namespace = format!("tenant-{name}");
    cluster.apply_tenant(name, &json!({ "limits": { "maxKeyBytes": 99 } })).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    let set = cluster.get("apps", "v1", "StatefulSet", &namespace, "redis").await.unwrap();

    let wrong = json!({ "limits": { "maxKeyBytes": 7 }, "redis": { "version": "9.9" } });
    cluster.apply_tenant(name, &wrong).await;
    let stalled = cluster.wait_for(name, "Stalled", "True").await.status.unwrap();
    let said = |type_: &str| stalled.conditions.iter().find(|it| it.type_ == type_).unwrap().message.clone();
    assert!(
        said("Ready").starts_with("the operator has no image for redis.version 9.9"),
        "{}",
        said("Ready")
    );
    assert!(said("Reconciling").ends_with("goes on as of the spec that was accepted last"));

    // Also by an operator that did not see that spec.
    operator.terminate().await;
    let _operator = Operator::leading(&cluster, "two").await;
    let policies = cluster.api("networking.k8s.io", "v1", "NetworkPolicy", Some(&namespace));
    policies.delete("default-deny", &kube::api::DeleteParams::default()).await.unwrap();
    eventually("what was deleted is there again", async || {
        let names = cluster.names("networking.k8s.io", "v1", "NetworkPolicy", &namespace).await;
        if names.iter().any(|it| it == "default-deny") { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    cluster.wait_for(name, "Stalled", "True").await;
    assert_eq!(route(&cluster, name).await["limits"]["maxKeyBytes"], json!(99));
    let after = cluster.get("apps", "v1", "StatefulSet", &namespace, "redis").await.unwrap();
    assert_eq!(after["spec"], set["spec"]);

    cluster.apply_tenant(name, &json!({ "limits": { "maxKeyBytes": 7 } })).await;
    cluster.wait_for(name, "Stalled", "False").await;
    eventually("the spec that was corrected is carried out", async || {
        let told = route(&cluster, name).await["limits"]["maxKeyBytes"].clone();
        if told == json!(7) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_version_that_the_table_has_lost_goes_on_with_its_image() {
    let Some(cluster) = Cluster::connect().await else { return };
    let operator = Operator::leading(&cluster, "one").await;
    let name = "kst-lost";
    let namespace = format!("tenant-{name}");
    cluster.apply_tenant(name, &json!({})).await;
    cluster.wait_for(name, "RouteReady", "True").await;
    let image = async || {
        let set = cluster.get("apps", "v1", "StatefulSet", &namespace, "redis").await.unwrap();
        set["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let before = image().await;
    operator.terminate().await;
    // As if it had been made by an operator whose table had a version that this one has not.
    let labels = json!({ "metadata": { "labels": { "app.kubernetes.io/version": "99.0" } } });
    let sets = cluster.api("apps", "v1", "StatefulSet", Some(&namespace));
    sets.patch("redis", &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    cluster
        .apply_tenant(name, &json!({ "redis": { "version": "99.0" }, "limits": { "maxKeyBytes": 7 } }))
        .await;

    let _operator = Operator::leading(&cluster, "two").await;
    cluster.wait_for(name, "Stalled", "False").await;
    eventually("the rest of its spec is carried out", async || {
        let told = route(&cluster, name).await["limits"]["maxKeyBytes"].clone();
        if told == json!(7) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    assert_eq!(image().await, before);
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_volume_that_cannot_grow_stalls_with_what_to_do_and_redis_goes_on() {
    let Some(cluster) = Cluster::connect().await else { return };
    let (_, classes) = cluster.kubectl(&["get", "storageclasses", "-o", "json"], "");
    let classes: Value = serde_json::from_str(&classes).unwrap();
    let classes = classes["items"].as_array().unwrap();
    let can_grow = |class: &Value| class["allowVolumeExpansion"] == json!(true);
    if !has_nodes(&cluster).await || classes.is_empty() || classes.iter().any(can_grow) {
        eprintln!("skipped: no storage class whose volumes cannot grow");
        return;
    }
    let _operator = Operator::leading(&cluster, "one").await;
    let name = "kst-grow";
    cluster.apply_tenant(name, &json!({ "worker": { "replicas": 0 } })).await;
    cluster.wait_for(name, "Ready", "True").await;
    cluster
        .apply_tenant(
            name,
            &json!({ "worker": { "replicas": 0 }, "redis": { "storage": { "size": "2Gi" } } }),
        )
        .await;
    let tenant = cluster.wait_for(name, "Stalled", "True").await;
    let status = tenant.status.unwrap();
    let stalled = status.conditions.iter().find(|it| it.type_ == "Stalled").unwrap();
    assert!(stalled.message.contains("grow PersistentVolumeClaim"), "{}", stalled.message);
    assert!(
        stalled.message.contains("Set allowVolumeExpansion: true in the StorageClass"),
        "{}",
        stalled.message
    );
    let redis = status.conditions.iter().find(|it| it.type_ == "RedisAvailable").unwrap();
    assert_eq!(redis.status, "True");
    cluster.clean_up().await;
}

#[tokio::test]
async fn a_namespace_of_others_is_never_taken_over() {
    let Some(cluster) = Cluster::connect().await else { return };
    let _operator = Operator::leading(&cluster, "one").await;
    let name = "kst-theirs";
    let namespace = format!("tenant-{name}");
    let theirs = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    cluster.apply_as("somebody", &theirs, false).await.unwrap();
    cluster.apply_tenant(name, &json!({})).await;
    let tenant = cluster.wait_for(name, "Stalled", "True").await;
    let status = tenant.status.unwrap();
    let ready = status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert_eq!(ready.reason, "NamespaceNotOurs");
    assert!(ready.message.contains("Delete it, or choose another name"), "{}", ready.message);

    cluster.tenants().delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    cluster.wait_gone(name).await;
    let after = cluster.get("", "v1", "Namespace", "", &namespace).await.unwrap();
    assert!(after["metadata"].get("deletionTimestamp").is_none(), "a namespace of others is not deleted");
    assert!(after["metadata"]["labels"].get("keystead.io/tenant").is_none());
    assert_eq!(cluster.names("", "v1", "Secret", &namespace).await, Vec::<String>::new());
    cluster.clean_up().await;
}

/// What the gateway has been told of a tenant.
pub async fn route(cluster: &Cluster, tenant: &str) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let secret = cluster.get("", "v1", "Secret", FRONT, &format!("route-{tenant}")).await;
    let Some(secret) = secret else { return json!(null) };
    let document = STANDARD.decode(secret["data"]["route.json"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&document).unwrap()
}
