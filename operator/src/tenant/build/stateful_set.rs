//! The StatefulSets of the tenant's Redis: one, or one for each shard, and that of the readers.

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde_json::{Value, json};

use super::{Object, config_map, hash, object, owned, redis_pod};
use crate::{
    kinds::Kind,
    tenant::{
        names,
        validate::{Arrangement, Storage, ValidTenant},
    },
};

/// The StatefulSets of Redis by name, each with the number of its pods and its shard.
fn sets(tenant: &ValidTenant) -> Vec<(String, u8, Option<u8>)> {
    match &tenant.redis.arrangement {
        Arrangement::Standalone => vec![(names::REDIS.to_owned(), 1, None)],
        Arrangement::Replicated { members } => vec![(names::REDIS.to_owned(), *members, None)],
        Arrangement::Cluster(shards) => {
            shards.numbers().map(|shard| (names::shard(shard), shards.replicas + 1, Some(shard))).collect()
        }
    }
}

/// `existing` are the `spec`s of those that are there, by name: parts of them cannot be changed.
pub(super) fn build(
    tenant: &ValidTenant,
    addresses: &[(String, String)],
    existing: &[(&str, &Value)],
) -> Vec<Object> {
    let of = |name: &str| existing.iter().find(|(of, _)| *of == name).map(|(_, spec)| *spec);
    sets(tenant)
        .iter()
        .map(|(name, pods, shard)| set(tenant, name, (*pods, *shard), addresses, of(name)))
        .collect()
}

fn set(
    tenant: &ValidTenant,
    name: &str,
    (pods, shard): (u8, Option<u8>),
    addresses: &[(String, String)],
    existing: Option<&Value>,
) -> Object {
    let namespace = names::namespace(&tenant.name);
    let mut metadata = owned(tenant, &namespace, name, Some(names::REDIS));
    let labels = metadata.labels.take().unwrap_or_default();
    metadata.labels = Some(names::in_shard(labels, shard));
    let has_members = tenant.redis.has_members();
    let version = names::label_value(&tenant.redis.version);
    metadata.labels.get_or_insert_default().insert(names::VERSION_LABEL.into(), version);
    let claims = match &tenant.redis.storage {
        Storage::Volume { .. } => Some(vec![claim(tenant)]),
        Storage::Ephemeral => None,
    };
    let set = StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            service_name: Some(names::REDIS_HEADLESS.into()),
            replicas: Some(if tenant.redis_rests { 0 } else { pods.into() }),
            // The members wait for each other.
            pod_management_policy: Some("Parallel".into()),
            revision_history_limit: Some(3),
            update_strategy: Some(StatefulSetUpdateStrategy {
                // Which member may go next, only the operator knows.
                type_: Some(if has_members { "OnDelete" } else { "RollingUpdate" }.into()),
                rolling_update: None,
            }),
            // Only a deletion policy removes data.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".into()),
                when_scaled: Some("Retain".into()),
            }),
            selector: LabelSelector {
                match_labels: Some(names::in_shard(names::selector(&tenant.name, names::REDIS), shard)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(tenant, names::REDIS, shard, addresses)),
                spec: Some(redis_pod::build(tenant, shard)),
            },
            volume_claim_templates: claims,
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    };
    let mut set = object(Kind::StatefulSet, &set);
    let template = hash([set.body["spec"]["template"].to_string().as_bytes()]);
    set.body["metadata"]["annotations"][names::TEMPLATE_ANNOTATION] = json!(template);
    // Several members cannot be had with the other one: the rollout has the set made anew then.
    if let Some(policy) = existing.and_then(|it| it.get("podManagementPolicy")).filter(|_| !has_members) {
        set.body["spec"]["podManagementPolicy"] = policy.clone();
    }
    let claims = existing.and_then(|it| it.get("volumeClaimTemplates")).and_then(Value::as_array);
    if let (Some(existing), Storage::Volume { .. }) = (claims, &tenant.redis.storage) {
        // They cannot be changed. A larger volume is had by growing the claim itself.
        let kept = existing.iter().map(|claim| {
            json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": { "name": claim["metadata"]["name"], "labels": claim["metadata"]["labels"] },
                "spec": claim["spec"],
            })
        });
        set.body["spec"]["volumeClaimTemplates"] = kept.collect();
    }
    set
}

/// Redis that only answer reads. They keep nothing: what one lacks it fetches from a member. It says nothing of their number,
/// which is the autoscaler's.
pub(super) fn readers(tenant: &ValidTenant, addresses: &[(String, String)]) -> Object {
    let namespace = names::namespace(&tenant.name);
    let name = names::REDIS_READERS;
    let set = StatefulSet {
        metadata: owned(tenant, &namespace, name, Some(name)),
        spec: Some(StatefulSetSpec {
            service_name: Some(name.into()),
            pod_management_policy: Some("Parallel".into()),
            revision_history_limit: Some(3),
            selector: LabelSelector {
                match_labels: Some(names::selector(&tenant.name, name)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(tenant, name, None, addresses)),
                spec: Some(redis_pod::reader(tenant)),
            },
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    };
    object(Kind::StatefulSet, &set)
}

fn pod_metadata(
    tenant: &ValidTenant,
    component: &str,
    shard: Option<u8>,
    addresses: &[(String, String)],
) -> ObjectMeta {
    ObjectMeta {
        labels: Some(names::in_shard(names::labels(&tenant.name, Some(component)), shard)),
        annotations: Some([(names::CONFIG_ANNOTATION.into(), config(tenant, shard, addresses))].into()),
        ..ObjectMeta::default()
    }
}

/// Changes when anything changes that Redis reads only at its start: then the pod is replaced. Users, passwords and what is in
/// `live.conf` are taken up while it runs; so are the members of other shards, which come and go.
fn config(tenant: &ValidTenant, shard: Option<u8>, addresses: &[(String, String)]) -> String {
    let of_shard = |(name, _): &&(String, String)| names::shard_of(name) == shard;
    let addresses: Vec<_> = addresses.iter().filter(of_shard).cloned().collect();
    let files = config_map::files(&tenant.redis, &addresses);
    let at_start = files.iter().filter(|(name, _)| *name != config_map::LIVE);
    hash(at_start.map(|(_, text)| text.as_bytes()))
}

fn claim(tenant: &ValidTenant) -> PersistentVolumeClaim {
    let (size, class) = match &tenant.redis.storage {
        Storage::Volume { size, class } => (Some(size.clone()), class.clone()),
        Storage::Ephemeral => (None, None),
    };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA.into()),
            labels: Some(names::labels(&tenant.name, Some(names::REDIS))),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: class,
            resources: Some(VolumeResourceRequirements {
                requests: size.map(|size| [("storage".to_owned(), size)].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
