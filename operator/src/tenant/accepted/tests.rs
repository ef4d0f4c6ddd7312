//! What a pass goes by where a spec is refused.

use std::sync::Arc;

use keystead_crds::RedisStatus;
use serde_json::{Value, json};

use super::*;
use crate::{
    cache::{Objects, Seen},
    fixtures,
    kinds::Kind,
};

fn seen(kind: Kind, mut body: Value) -> (crate::cache::Key, Arc<Seen>) {
    body["metadata"]["labels"][keystead_route::TENANT_LABEL] = json!("shop");
    let (_, seen) = Seen::new(kind, body).unwrap();
    (seen.key.clone(), Arc::new(seen))
}

/// A namespace that keeps this, and a Redis of this version, where there is one.
fn observed(kept: Option<&str>, version: Option<&str>) -> Observed {
    let mut objects = Objects::new();
    let annotations = kept.map(|kept| json!({ ANNOTATION: kept }));
    let namespace =
        json!({ "metadata": { "name": "tenant-shop", "annotations": annotations, "labels": {} } });
    objects.extend([seen(Kind::Namespace, namespace)]);
    objects.extend(version.map(|version| {
        let redis = json!({ "name": "redis", "image": format!("mirror.test/redis:{version}") });
        let set = json!({
            "metadata": { "name": "redis", "namespace": "tenant-shop", "labels": { names::VERSION_LABEL: version } },
            "spec": { "template": { "spec": { "containers": [redis] } } },
        });
        seen(Kind::StatefulSet, set)
    }));
    Observed::new(objects, &"shop".parse().unwrap(), "front")
}

/// What is kept of a Tenant with this spec, which was its second.
fn kept(spec: &Value) -> String {
    let mut tenant = fixtures::tenant(spec.clone());
    tenant.metadata.generation = Some(2);
    validate(&tenant, &fixtures::settings(), None).unwrap().accepted.unwrap()
}

fn chosen(spec: &Value, observed: &Observed) -> Result<Chosen, Invalid> {
    choose(&fixtures::tenant(spec.clone()), &fixtures::settings(), observed, &TenantStatus::default())
}

fn wrong() -> Value {
    json!({ "redis": { "version": "7.2", "config": { "hz": "fast" } }, "limits": { "maxKeyBytes": 7 } })
}

#[test]
fn a_tenant_goes_on_as_of_the_spec_that_was_accepted_last_and_says_why() {
    let before = kept(&json!({ "redis": { "version": "7.2" }, "limits": { "maxKeyBytes": 99 } }));
    let Chosen { valid, refusal } = chosen(&wrong(), &observed(Some(&before), Some("7.2"))).unwrap();
    assert_eq!(refusal.unwrap().to_string(), "redis.config.hz is \"fast\": it takes a number from 1 to 500");
    assert_eq!((valid.limits.max_key_bytes, valid.generation), (99, Some(2)));
    assert_eq!(valid.accepted, Some(before), "what is kept stays");
}

#[test]
fn a_spec_that_can_be_carried_out_takes_the_place_of_the_one_before() {
    let before = kept(&json!({ "limits": { "maxKeyBytes": 99 } }));
    let next = json!({ "limits": { "maxKeyBytes": 7 } });
    let Chosen { valid, refusal } = chosen(&next, &observed(Some(&before), Some("7.2"))).unwrap();
    assert_eq!((refusal, valid.limits.max_key_bytes, valid.generation), (None, 7, Some(3)));
    assert_ne!(valid.accepted, Some(before));
}

#[test]
fn where_nothing_is_kept_of_this_tenant_its_spec_is_just_refused() {
    let of_another = kept(&json!({})).replace("0d6a1f9e", "another");
    for kept in [None, Some("{}"), Some("not even this"), Some(of_another.as_str())] {
        assert!(chosen(&wrong(), &observed(kept, Some("7.2"))).is_err(), "{kept:?}");
    }
}

#[test]
fn where_what_was_accepted_is_refused_by_now_the_reason_is_that_of_the_present_spec() {
    let before = kept(&json!({ "redis": { "version": "7.0" } })).replace("\"7.0\"", "\"6.0\"");
    let error = chosen(&wrong(), &observed(Some(&before), Some("7.2"))).unwrap_err();
    assert!(error.to_string().contains("redis.config.hz"), "{error}");
}

#[test]
fn a_version_that_the_table_has_lost_is_kept_by_who_has_it_and_by_nobody_else() {
    let spec = json!({ "redis": { "version": "6.2" } });
    let Chosen { valid, refusal } = chosen(&spec, &observed(None, Some("6.2"))).unwrap();
    assert_eq!((refusal, valid.redis.image.as_str()), (None, "mirror.test/redis:6.2"));
    assert_eq!(
        valid.redis.unlisted().unwrap(),
        "the operator has no image for Redis 6.2 any more, so it stays on mirror.test/redis:6.2: choose one of 7.0, 7.2 as redis.version"
    );
    for other in [None, Some("7.0")] {
        assert!(
            matches!(chosen(&spec, &observed(None, other)), Err(Invalid::UnknownVersion { .. })),
            "{other:?}"
        );
    }

    // Somebody has deleted the StatefulSet.
    let text = valid.accepted.unwrap();
    let Chosen { valid, .. } = chosen(&spec, &observed(Some(&text), None)).unwrap();
    assert_eq!(valid.redis.image, "mirror.test/redis:6.2");
}

/// What is said of a tenant whose data this version has written.
fn written_by(version: Option<&str>) -> TenantStatus {
    let redis = RedisStatus { data_version: version.map(str::to_owned), ..RedisStatus::default() };
    TenantStatus { redis: Some(redis), ..TenantStatus::default() }
}

#[test]
fn a_tenant_without_a_version_does_not_fall_back_to_an_earlier_default() {
    let version = |there: &str, wrote| {
        let (tenant, observed) = (fixtures::tenant(json!({})), observed(None, Some(there)));
        let chosen = choose(&tenant, &fixtures::settings(), &observed, &written_by(wrote));
        chosen.unwrap().valid.redis.version
    };
    assert_eq!(version("7.4", Some("7.4")), "7.4", "7.2 would not read its files");
    assert_eq!(version("9.9", Some("7.2")), "7.2", "an own image that never came up, and was taken back");
    assert_eq!(version("6.2", Some("6.2")), "7.2");
}

#[test]
fn an_earlier_version_is_refused_also_while_no_pod_is_there() {
    let spec = json!({ "redis": { "version": "7.0" } });
    let there = observed(None, Some("7.2"));
    let chosen_after = |data_version: Option<&str>| {
        let tenant = fixtures::tenant(spec.clone());
        choose(&tenant, &fixtures::settings(), &there, &written_by(data_version))
    };
    assert!(matches!(chosen_after(Some("7.2")), Err(Invalid::Downgrade { .. })));
    assert!(chosen_after(Some("7.0")).is_ok(), "7.2 never came up");
    assert!(chosen_after(None).is_ok(), "nobody knows");
}

#[test]
fn a_spec_that_is_too_large_for_an_annotation_is_not_kept() {
    let large = "x".repeat(MOST_BYTES);
    let spec = json!({ "worker": { "schedules": [{ "name": "n", "cron": "0 3 * * *", "kind": "k", "payload": { "p": large } }] } });
    let valid = validate(&fixtures::tenant(spec), &fixtures::settings(), None).unwrap();
    assert_eq!(valid.accepted, None);
}
