//! The StatefulSet of the tenant's Redis.

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, ExecAction,
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, Probe,
            SecretVolumeSource, Volume, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde_json::{Value, json};

use super::{Object, config_map, hash, object, owned, pod, secret};
use crate::{
    kinds::Kind,
    tenant::{
        credentials::{Credentials, MONITOR_PASSWORD},
        names,
        validate::{Storage, ValidTenant},
    },
};

const CONFIG: &str = "config";
const USERS: &str = "users";
const MONITOR: &str = "monitor";

pub(super) fn build(
    tenant: &ValidTenant,
    credentials: &Credentials,
    existing_claims: Option<&Value>,
) -> Object {
    let namespace = names::namespace(&tenant.name);
    let mut metadata = owned(tenant, &namespace, names::REDIS, Some(names::REDIS));
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
            replicas: Some(1),
            revision_history_limit: Some(3),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: None,
            }),
            // Only a deletion policy removes data.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".into()),
                when_scaled: Some("Retain".into()),
            }),
            selector: LabelSelector {
                match_labels: Some(names::selector(&tenant.name, names::REDIS)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names::labels(&tenant.name, Some(names::REDIS))),
                    annotations: Some(
                        [(names::CONFIG_ANNOTATION.into(), config(tenant, credentials))].into(),
                    ),
                    ..ObjectMeta::default()
                }),
                spec: Some(template(tenant)),
            },
            volume_claim_templates: claims,
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    };
    let mut set = object(Kind::StatefulSet, &set);
    if let (Some(existing), Storage::Volume { .. }) =
        (existing_claims.and_then(Value::as_array), &tenant.redis.storage)
    {
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

/// Changes when anything changes that Redis reads only at its start: then the pod is replaced.
fn config(tenant: &ValidTenant, credentials: &Credentials) -> String {
    hash([
        config_map::redis_conf(&tenant.redis).as_bytes(),
        config_map::START.as_bytes(),
        secret::users(credentials).as_bytes(),
        credentials.monitor_password.expose().as_bytes(),
    ])
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

fn template(tenant: &ValidTenant) -> PodSpec {
    let mut volumes = vec![
        Volume {
            name: CONFIG.into(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::REDIS_CONFIG.into(),
                default_mode: Some(0o555),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: USERS.into(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::REDIS_USERS.into()),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        pod::password(MONITOR, MONITOR_PASSWORD),
    ];
    if tenant.redis.storage == Storage::Ephemeral {
        volumes.push(Volume {
            name: names::DATA.into(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    PodSpec {
        containers: vec![container(tenant)],
        volumes: Some(volumes),
        // Time for the last writes to reach the disk.
        termination_grace_period_seconds: Some(60),
        ..pod::spec(names::REDIS)
    }
}

fn container(tenant: &ValidTenant) -> Container {
    let script = |name: &str| ExecAction {
        command: Some(vec!["/bin/sh".into(), format!("/etc/keystead/redis/{name}")]),
    };
    Container {
        name: names::REDIS.into(),
        image: Some(tenant.redis.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        command: script("start.sh").command,
        env: Some(vec![pod::env("KEYSTEAD_TENANT", tenant.name.as_str())]),
        ports: Some(vec![ContainerPort {
            name: Some("redis".into()),
            container_port: names::REDIS_PORT,
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        resources: Some(pod::resources(&tenant.redis.resources)),
        security_context: Some(pod::container_security()),
        volume_mounts: Some(vec![
            pod::mount(CONFIG, "/etc/keystead/redis", true),
            pod::mount(USERS, "/etc/keystead/users", true),
            pod::mount(MONITOR, "/etc/keystead/monitor", true),
            pod::mount(names::DATA, "/data", false),
        ]),
        // No startup probe: it would only be asked at whole seconds, while a pod that is not ready is asked as soon as it
        // runs. Each probe is a process in the container, so in peace they are rare.
        readiness_probe: Some(Probe {
            exec: Some(script("ready.sh")),
            period_seconds: Some(10),
            timeout_seconds: Some(2),
            failure_threshold: Some(2),
            ..Probe::default()
        }),
        // An answer of any kind is life: a Redis that loads its data is not killed for it.
        liveness_probe: Some(Probe {
            exec: Some(script("alive.sh")),
            initial_delay_seconds: Some(30),
            period_seconds: Some(20),
            timeout_seconds: Some(5),
            failure_threshold: Some(4),
            ..Probe::default()
        }),
        ..Container::default()
    }
}
