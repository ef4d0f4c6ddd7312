//! Shards of a Cluster tenant, also such as come and go.

use super::*;

#[test]
fn members_of_one_shard_are_spread_and_drained_apart_from_those_of_others() {
    let objects = build_all(&cluster_tenant(3, &[]));
    let find = |kind: Kind, name: &str| {
        &objects.iter().find(|it| it.key.kind == kind && it.key.name == name).unwrap().body
    };
    let labels = &find(Kind::PodDisruptionBudget, "redis-shard-1")["spec"]["selector"]["matchLabels"];
    assert_eq!(labels[names::SHARD_LABEL], "1");
    let set = &find(Kind::StatefulSet, "redis-shard-1")["spec"];
    assert_eq!(set["replicas"], 2);
    assert_eq!(set["selector"]["matchLabels"], *labels);
    assert_eq!(set["template"]["metadata"]["labels"][names::SHARD_LABEL], "1");
    for spread in set["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap() {
        assert_eq!(spread["labelSelector"]["matchLabels"], *labels);
    }
    let apart = &set["template"]["spec"]["affinity"]["podAntiAffinity"];
    let term = &apart["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
    assert_eq!(term["matchLabelKeys"], json!(["apps.kubernetes.io/pod-index"]));
    assert_eq!(term["labelSelector"]["matchLabels"][names::SHARD_LABEL], json!(null), "of all shards");
}

#[test]
fn shards_that_come_and_go_replace_no_pod_of_the_others() {
    let template = |tenant: &ValidTenant| {
        let objects = build_all(tenant);
        let set =
            objects.iter().find(|it| it.key.name == "redis-shard-0" && it.key.kind == Kind::StatefulSet);
        set.unwrap().body["spec"]["template"].clone()
    };
    let three = template(&cluster_tenant(3, &[]));
    assert_eq!(three, template(&cluster_tenant(5, &[])));
    assert_eq!(three, template(&cluster_tenant(3, &[4])));
}

#[test]
fn shards_that_are_to_go_are_still_members_and_in_the_route() {
    let tenant = cluster_tenant(3, &[4]);
    let objects = build_all(&tenant);
    let config = objects.iter().find(|it| it.key.kind == Kind::ConfigMap).unwrap();
    let members = config.body["data"]["members"].as_str().unwrap();
    assert_eq!(members.lines().count(), 8);
    assert!(members.ends_with("redis-shard-4-0 10.3.2.7 4\nredis-shard-4-1 10.3.2.8 4\n"), "{members}");
    let route = objects.iter().find(|it| it.key.name == "route-shop").unwrap();
    let route = readable(&route.body)["data"]["route.json"].to_string();
    assert!(route.contains(r#"[\"10.3.2.7:6379\",\"10.3.2.8:6379\"]]"#), "{route}");
    let env = &reshape(&tenant).unwrap().body["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env[1], json!({ "name": "KEYSTEAD_SHARDS", "value": "3" }));
}
