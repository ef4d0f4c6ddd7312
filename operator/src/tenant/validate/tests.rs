//! What a spec becomes, and what is said of one that cannot be carried out.

use keystead_kv::queue::kinds::KINDS;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::*;

fn valid(spec: Value) -> Result<ValidTenant, Invalid> {
    validate(&crate::fixtures::tenant(spec), &crate::fixtures::settings(), None)
}

#[test]
fn a_spec_that_says_nothing_can_be_built() {
    let tenant = valid(json!({})).unwrap();
    assert_eq!(tenant.redis.image, "registry.test/redis:7.2");
    assert_eq!(tenant.redis.max_memory, 256 * 1024 * 1024 / 100 * 70);
    assert_eq!(tenant.redis.resources.memory_request, tenant.redis.resources.memory_limit);
    assert_eq!(tenant.redis.storage, Storage::Volume { size: Quantity("1Gi".into()), class: None });
    assert_eq!(tenant.auth.refresh_token_ttl, Duration::from_hours(168));
    assert!(
        matches!(tenant.worker.replicas, Replicas::Scaled(scaling) if (scaling.min, scaling.max) == (1, 10))
    );
}

#[test]
fn each_topology_has_its_own_numbers() {
    let arrangement = |redis: Value| valid(json!({ "redis": redis })).unwrap().redis.arrangement;
    assert_eq!(arrangement(json!({})), Arrangement::Standalone);
    assert_eq!(arrangement(json!({ "topology": "Replicated" })), Arrangement::Replicated { members: 3 });
    let shards = |wanted, replicas| Arrangement::Cluster(Shards { wanted, leaving: Vec::new(), replicas });
    assert_eq!(arrangement(json!({ "topology": "Cluster" })), shards(3, 1));
    let given = json!({ "topology": "Cluster", "shards": 16, "replicasPerShard": 2 });
    assert_eq!(arrangement(given.clone()), shards(16, 2));
    let pods = valid(json!({ "redis": given })).unwrap().redis.pods();
    assert_eq!((pods.len(), pods[5].as_str()), (48, "redis-shard-1-2"));
}

#[test]
fn a_version_outside_the_table_is_refused_with_what_there_is() {
    assert_eq!(
        valid(json!({ "redis": { "version": "9.9" } })).unwrap_err().to_string(),
        "the operator has no image for redis.version 9.9: choose one of 7.0, 7.2, or give redis.image"
    );
}

#[test]
fn a_tenant_without_a_version_stays_on_the_one_it_has() {
    let tenant = crate::fixtures::tenant(json!({}));
    let version = |provisioned: Option<&str>| {
        let provisioned = provisioned.map(|version| Provisioned { version, image: None, has_written: false });
        validate(&tenant, &crate::fixtures::settings(), provisioned).unwrap().redis.version
    };
    assert_eq!(version(Some("7.0")), "7.0");
    assert_eq!(version(Some("6.2")), "7.2", "a version that is no longer offered");
    assert_eq!(version(None), "7.2");
}

#[test]
fn the_version_of_an_own_image_is_its_tag_or_digest() {
    for (image, version) in [
        ("h:5000/redis:7.4-alpine", "7.4-alpine"),
        ("h:5000/redis", "latest"),
        ("redis@sha256:0123", "sha256-0123"),
        ("redis:7.4@sha256:0123", "7.4"),
    ] {
        assert_eq!(valid(json!({ "redis": { "image": image } })).unwrap().redis.version, version, "{image}");
    }
}

#[test]
fn an_image_whose_tag_tells_of_an_earlier_redis_than_runs_is_refused() {
    let check = |redis: Value, running| {
        takes_the_place_of(&valid(json!({ "redis": redis })).unwrap().redis, running)
            .map_err(|it| it.to_string())
    };
    let image = |image: &str| json!({ "image": image });
    assert_eq!(
        check(image("h:5000/redis:7.2-alpine"), "7.4").unwrap_err(),
        "Redis 7.2-alpine does not read the files of 7.4, which has written them: choose 7.4 or later. Where the tag of redis.image is not the version of its Redis, name the image by its digest only"
    );
    assert!(check(json!({ "version": "7.0" }), "7.2.4").is_err(), "also from an image to a version");
    for taken in
        ["h/redis:7.4.1", "h/redis:8.0", "h/redis:7.10", "h/redis:latest", "h/redis", "h/redis@sha256:0123"]
    {
        assert_eq!(check(image(taken), "7.4"), Ok(()), "{taken}");
    }
    assert_eq!(check(image("h/redis:1.0"), "sha256-0123"), Ok(()), "nobody knows what runs");
}

#[test]
fn a_worker_has_a_fixed_number_of_pods_where_nothing_is_left_to_scale() {
    for (spec, expected) in [
        (json!({ "suspend": true, "worker": { "replicas": 3 } }), 0),
        (json!({ "worker": { "replicas": 0 } }), 0),
        (json!({ "worker": { "replicas": 2 }, "autoscaling": { "workers": { "maxReplicas": 2 } } }), 2),
    ] {
        assert_eq!(valid(spec.clone()).unwrap().worker.replicas, Replicas::Fixed(expected), "{spec}");
    }
}

#[test]
fn many_replicas_raise_the_default_of_their_most() {
    let worker = valid(json!({ "worker": { "replicas": 20 } })).unwrap().worker;
    assert_eq!(worker.replicas, Replicas::Fixed(20));
}

#[test]
fn values_that_redis_would_not_start_with_are_refused() {
    let error = valid(json!({ "redis": { "config": { "hz": "fast" } } })).unwrap_err();
    assert_eq!(error.to_string(), "redis.config.hz is \"fast\": it takes a number from 1 to 500");
}

#[test]
fn a_schedule_the_wrong_way_round_is_refused_by_its_name() {
    let schedules = json!([{ "name": "odd", "cron": "5-3 * * * *", "kind": "ttl.sweep" }]);
    let error = valid(json!({ "worker": { "schedules": schedules } })).unwrap_err().to_string();
    assert!(error.starts_with("worker.schedules, odd: \"5-3 * * * *\" is no schedule"), "{error}");
}

#[test]
fn each_kind_that_the_worker_knows_may_be_scheduled() {
    let crd = serde_json::to_string(&Tenant::crd()).unwrap();
    for kind in KINDS {
        assert!(crd.contains(&format!("'{kind}'")), "no rule of the CRD names {kind}");
    }
}

#[test]
fn a_webhook_goes_to_the_ports_of_its_schemes_where_none_are_named() {
    let ports = |webhook: Value| {
        let tenant = valid(json!({ "worker": { "webhooks": [webhook] } })).unwrap();
        tenant.worker.webhooks.0[0].ports.clone()
    };
    assert_eq!(ports(json!({ "host": "a" })), [443]);
    assert_eq!(ports(json!({ "host": "a", "allowHttp": true })), [80, 443]);
    assert_eq!(ports(json!({ "host": "a", "allowHttp": true, "ports": [8080] })), [8080]);
    let wrong = json!({ "worker": { "webhooks": [{ "host": "a", "addresses": ["10.0.0/8"] }] } });
    let error = valid(wrong).unwrap_err().to_string();
    assert_eq!(error, "worker.webhooks, a: \"10.0.0/8\" is no address range: write one such as 10.1.0.0/16");
}

#[test]
fn a_signing_key_is_replaced_by_age_only_where_that_is_asked_for() {
    let after = |auth: Value| valid(json!({ "auth": auth })).map(|tenant| tenant.auth.rotate_after);
    assert_eq!(after(json!({})), Ok(None));
    assert_eq!(after(json!({ "rotateAfter": "2160h" })), Ok(Some(Duration::from_hours(2160))));
    assert_eq!(
        after(json!({ "rotateAfter": "soon" })).unwrap_err().to_string(),
        "auth.rotateAfter is \"soon\": write a duration such as 30m or 168h"
    );
}

#[test]
fn durations_add_up() {
    assert_eq!(duration("f", "1h30m15s"), Ok(Duration::from_secs(5415)));
    for wrong in ["", "30", "m", "1d", "0s", "1.5h", "99999999999999999999h"] {
        assert!(duration("f", wrong).is_err(), "{wrong}");
    }
}
