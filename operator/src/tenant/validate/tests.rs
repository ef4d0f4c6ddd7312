//! What a spec becomes, and what is said of one that cannot be carried out.

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
fn a_version_outside_the_table_is_refused_with_what_there_is() {
    assert_eq!(
        valid(json!({ "redis": { "version": "9.9" } })).unwrap_err().to_string(),
        "the operator has no image for redis.version 9.9: choose one of 7.0, 7.2, or give redis.image"
    );
}

#[test]
fn a_tenant_without_a_version_stays_on_the_one_it_has() {
    let tenant = crate::fixtures::tenant(json!({}));
    let version =
        |provisioned| validate(&tenant, &crate::fixtures::settings(), provisioned).unwrap().redis.version;
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
fn durations_add_up() {
    assert_eq!(duration("f", "1h30m15s"), Ok(Duration::from_secs(5415)));
    for wrong in ["", "30", "m", "1d", "0s", "1.5h", "99999999999999999999h"] {
        assert!(duration("f", wrong).is_err(), "{wrong}");
    }
}
