//! What is known of the version that runs.

use std::sync::Arc;

use keystead_crds::{RedisStatus, TenantStatus};
use serde_json::json;

use super::*;
use crate::tenant::members::Says;

/// A tenant whose StatefulSet names a version, with pods of this state, and members that say these versions.
fn observed(named: &str, status: &Value, versions: &[Option<&str>]) -> Observed {
    let body = json!({
        "metadata": {
            "name": "redis", "namespace": "tenant-shop", "uid": "u",
            "labels": { keystead_route::TENANT_LABEL: "shop", names::VERSION_LABEL: named },
        },
        "spec": { "replicas": 1 },
        "status": status,
    });
    let (_, seen) = Seen::new(Kind::StatefulSet, body).unwrap();
    let objects: Objects = [(seen.key.clone(), Arc::new(seen))].into_iter().collect();
    let mut observed = Observed::new(objects, &"shop".parse().unwrap(), "front");
    let member = |version: Option<&str>| Member {
        name: names::member(0),
        ip: "10.3.2.1".into(),
        says: version.map(|_| Says::Primary { replicas: Vec::new() }),
        version: version.map(str::to_owned),
        names: None,
        knows: None,
        accepts_next: false,
    };
    observed.members = versions.iter().copied().map(member).collect();
    observed
}

#[test]
fn a_version_counts_only_where_what_runs_bears_it_out() {
    let none = Value::Null;
    let of_members = |named: &str, versions: &[Option<&str>]| {
        observed(named, &none, versions).running_version(true).map(str::to_owned)
    };
    assert_eq!(of_members("7.4-alpine", &[Some("7.4.1"), None]).as_deref(), Some("7.4-alpine"));
    assert_eq!(of_members("9.9", &[Some("7.4.1"), None]), None, "a tag that was mistyped can be corrected");
    assert_eq!(of_members("1.0", &[Some("7.4.1")]), None, "a tag that is no version of Redis");
    assert_eq!(of_members("sha256-0123", &[Some("7.4.1")]), None);
    assert_eq!(of_members("7.4", &[None]), None);

    let status = |ready: i32, update: &str| json!({ "observedGeneration": 1, "readyReplicas": ready, "currentRevision": "a", "updateRevision": update });
    let single = |status: &Value| observed("7.4", status, &[]).running_version(false).map(str::to_owned);
    assert_eq!(single(&status(1, "a")).as_deref(), Some("7.4"));
    assert_eq!(single(&status(1, "b")), None, "the next one has not come up yet");
    assert_eq!(single(&status(0, "a")), None);
}

#[test]
fn what_ran_last_counts_while_nothing_runs() {
    let noted = |version: &str| {
        let redis = RedisStatus { data_version: Some(version.to_owned()), ..RedisStatus::default() };
        TenantStatus { redis: Some(redis), ..TenantStatus::default() }
    };
    let status = |ready: i32, update: &str| json!({ "observedGeneration": 1, "readyReplicas": ready, "currentRevision": "a", "updateRevision": update });
    let version = |state: &Value, noted: &TenantStatus| {
        observed("7.4", state, &[]).data_version(false, noted).map(str::to_owned)
    };
    assert_eq!(version(&status(0, "a"), &noted("7.2")).as_deref(), Some("7.2"), "7.4 never came up");
    assert_eq!(version(&status(0, "a"), &noted("7.4")).as_deref(), Some("7.4"));
    assert_eq!(version(&status(1, "a"), &noted("7.2")).as_deref(), Some("7.4"));
    assert_eq!(version(&status(0, "a"), &TenantStatus::default()), None);
}

#[test]
fn who_sleeps_has_slept_with_what_it_ran_with() {
    let mut observed = observed("7.4", &Value::Null, &[]);
    let mut put_route = |stage: &str| {
        let sleep = json!({ "stage": stage, "since": "2030-01-01T00:00:00Z" }).to_string();
        let body = json!({
            "metadata": {
                "name": secret_name(&"shop".parse().unwrap()), "namespace": "front", "uid": "r",
                "labels": { keystead_route::TENANT_LABEL: "shop" },
                "annotations": { sleep::ANNOTATION: sleep },
            },
        });
        let (_, seen) = Seen::new(Kind::Secret, body).unwrap();
        observed.objects.insert(seen.key.clone(), Arc::new(seen));
        observed.data_version(false, &TenantStatus::default()).map(str::to_owned)
    };
    assert_eq!(put_route("Waking"), None);
    assert_eq!(put_route("Asleep").as_deref(), Some("7.4"));
}
