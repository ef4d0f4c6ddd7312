//! The pods of the tenant's Redis: a single one, a member, a reader, and what distributes the data over shards.

use k8s_openapi::{
    api::core::v1::{
        Affinity, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, ExecAction,
        Lifecycle, LifecycleHandler, PodAffinityTerm, PodAntiAffinity, PodSpec, Probe, SecretVolumeSource,
        TopologySpreadConstraint, Volume, VolumeMount, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector},
};

use super::{pod, tls};
use crate::tenant::{
    credentials::{
        CLUSTER_PASSWORD, KEEPER_PASSWORD, MONITOR_PASSWORD, REPLICATION_PASSWORD, SENTINEL_PASSWORD,
    },
    names,
    validate::{Arrangement, Storage, ValidResources, ValidTenant},
};

const CONFIG: &str = "config";
const USERS: &str = "users";
const MONITOR: &str = "monitor";
const KEEPER: &str = "keeper";
const PASSWORDS: &str = "passwords";
/// What is written anew at each start, with passwords in it: in memory.
const RUN: &str = "run";

/// Of a shard where there are several.
pub(super) fn build(tenant: &ValidTenant, shard: Option<u8>) -> PodSpec {
    let mut spec = match tenant.redis.arrangement {
        Arrangement::Standalone => {
            let volumes = [pod::password(MONITOR, MONITOR_PASSWORD), pod::password(KEEPER, KEEPER_PASSWORD)];
            PodSpec {
                containers: vec![standalone(tenant)],
                volumes: Some(config_volumes(tenant).into_iter().chain(volumes).collect()),
                ..redis_pod()
            }
        }
        Arrangement::Replicated { .. } => PodSpec {
            containers: vec![member(tenant, "redis.sh"), sentinel(tenant)],
            ..members_pod(tenant, shard)
        },
        Arrangement::Cluster(_) => {
            let mut container = member(tenant, "node.sh");
            container.ports.get_or_insert_default().push(port("bus", names::BUS_PORT));
            PodSpec { containers: vec![container], ..members_pod(tenant, shard) }
        }
    };
    if tenant.redis.storage == Storage::Ephemeral {
        spec.volumes.get_or_insert_default().push(empty(names::DATA, None));
    }
    spec
}

/// One that only answers reads.
pub(super) fn reader(tenant: &ValidTenant) -> PodSpec {
    let mut container = redis(tenant, "reader.sh");
    container.volume_mounts.get_or_insert_default().extend(member_mounts());
    container.startup_probe = Some(startup());
    let mut spec = members_pod(tenant, None);
    spec.containers = vec![container];
    spec.volumes.get_or_insert_default().push(empty(names::DATA, None));
    spec
}

/// What distributes the data over so many shards: a script that runs once, without Redis and without data of its own.
pub(super) fn reshape(tenant: &ValidTenant, shards: u8) -> PodSpec {
    let amounts = ValidResources {
        cpu_request: Quantity("50m".into()),
        cpu_limit: None,
        memory_request: Quantity("32Mi".into()),
        memory_limit: Quantity("128Mi".into()),
    };
    let mut container = Container {
        name: names::REDIS_RESHAPE.into(),
        command: script("reshape.sh").command,
        resources: Some(pod::resources(&amounts)),
        volume_mounts: Some([config_mount()].into_iter().chain(member_mounts()).collect()),
        // The operator tells what it said last, where it fails.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        ..common(tenant)
    };
    container.env.get_or_insert_default().push(pod::env("KEYSTEAD_SHARDS", shards.to_string()));
    let mut volumes = vec![config_volume(), passwords(tenant), empty(RUN, Some("Memory"))];
    if tenant.redis.tls.is_some() {
        container.volume_mounts.get_or_insert_default().push(tls::mount());
        volumes.push(tls::trusted());
    }
    PodSpec {
        containers: vec![container],
        volumes: Some(volumes),
        restart_policy: Some("Never".into()),
        ..pod::spec(names::REDIS)
    }
}

fn redis_pod() -> PodSpec {
    PodSpec {
        // Time for the last writes to reach the disk.
        termination_grace_period_seconds: Some(60),
        ..pod::spec(names::REDIS)
    }
}

/// A pod of Redis that has others beside it, without its containers.
fn members_pod(tenant: &ValidTenant, shard: Option<u8>) -> PodSpec {
    let volumes = config_volumes(tenant).into_iter().chain([passwords(tenant), empty(RUN, Some("Memory"))]);
    let spread =
        ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map(|key| spread(tenant, shard, key));
    PodSpec {
        volumes: Some(volumes.collect()),
        topology_spread_constraints: Some(spread.into()),
        affinity: shard.map(|_| apart_from_other_shards(tenant)),
        ..redis_pod()
    }
}

/// With which those log in to each other that hold the data together.
fn passwords(tenant: &ValidTenant) -> Volume {
    let scripts = match tenant.redis.arrangement {
        Arrangement::Cluster(_) => (CLUSTER_PASSWORD, "cluster"),
        Arrangement::Standalone | Arrangement::Replicated { .. } => (SENTINEL_PASSWORD, "sentinel"),
    };
    let files = [(REPLICATION_PASSWORD, "replication"), scripts, (MONITOR_PASSWORD, "monitor")];
    pod::credentials(PASSWORDS, files)
}

fn config_volume() -> Volume {
    Volume {
        name: CONFIG.into(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::REDIS_CONFIG.into(),
            default_mode: Some(0o555),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn config_volumes(tenant: &ValidTenant) -> Vec<Volume> {
    let mut volumes = vec![
        config_volume(),
        Volume {
            name: USERS.into(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::REDIS_USERS.into()),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ];
    volumes.extend(tenant.redis.tls.as_ref().map(|_| tls::certificate()));
    volumes
}

fn empty(name: &str, medium: Option<&str>) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(ToOwned::to_owned),
            size_limit: medium.map(|_| Quantity("1Mi".into())),
        }),
        ..Volume::default()
    }
}

/// Members that hold the same apart from each other, as far as there are nodes and zones for it.
fn spread(tenant: &ValidTenant, shard: Option<u8>, topology_key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(LabelSelector {
            match_labels: Some(names::in_shard(names::selector(&tenant.name, names::REDIS), shard)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}

/// Pods with the same number in different shards apart from each other, as far as there are nodes for it: those that lead from the
/// start have 0, so that no node takes the vote with it. Not by another constraint of spread: Kubernetes takes one for each
/// topology key.
fn apart_from_other_shards(tenant: &ValidTenant) -> Affinity {
    let term = PodAffinityTerm {
        topology_key: "kubernetes.io/hostname".into(),
        label_selector: Some(LabelSelector {
            match_labels: Some(names::selector(&tenant.name, names::REDIS)),
            ..LabelSelector::default()
        }),
        match_label_keys: Some(vec![names::POD_INDEX_LABEL.into()]),
        ..PodAffinityTerm::default()
    };
    let preferred = WeightedPodAffinityTerm { weight: 100, pod_affinity_term: term };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![preferred]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn standalone(tenant: &ValidTenant) -> Container {
    let mut container = redis(tenant, "start.sh");
    container.volume_mounts.get_or_insert_default().extend([
        pod::mount(MONITOR, "/etc/keystead/monitor", true),
        pod::mount(KEEPER, "/etc/keystead/keeper", true),
    ]);
    container
}

fn member(tenant: &ValidTenant, start: &str) -> Container {
    let mut container = redis(tenant, start);
    container.volume_mounts.get_or_insert_default().extend(member_mounts());
    container.lifecycle = Some(pre_stop("hand_over.sh"));
    container.startup_probe = Some(startup());
    container
}

/// Watches the members with the others of its kind, and makes one of them the primary when the primary fails.
fn sentinel(tenant: &ValidTenant) -> Container {
    let mut mounts = common_mounts(tenant);
    mounts.extend(member_mounts());
    let amounts = ValidResources {
        cpu_request: Quantity("20m".into()),
        cpu_limit: None,
        memory_request: Quantity("32Mi".into()),
        memory_limit: Quantity("64Mi".into()),
    };
    Container {
        name: names::SENTINEL.into(),
        command: script("sentinel.sh").command,
        ports: Some(vec![port(names::SENTINEL, names::SENTINEL_PORT)]),
        resources: Some(pod::resources(&amounts)),
        volume_mounts: Some(mounts),
        readiness_probe: Some(probe("ready.sh 26379", 0, 10, 3)),
        liveness_probe: Some(probe("alive.sh 26379", 30, 20, 4)),
        lifecycle: Some(pre_stop("wait_hand_over.sh")),
        ..common(tenant)
    }
}

fn member_mounts() -> [VolumeMount; 2] {
    [pod::mount(PASSWORDS, "/etc/keystead/passwords", true), pod::mount(RUN, "/run/keystead", false)]
}

fn redis(tenant: &ValidTenant, start: &str) -> Container {
    Container {
        name: names::REDIS.into(),
        command: script(start).command,
        ports: Some(vec![port(names::REDIS, names::REDIS_PORT)]),
        resources: Some(pod::resources(&tenant.redis.resources)),
        // No startup probe: it would only be asked at whole seconds, while a pod that is not ready is asked as soon as it
        // runs. Each probe is a process in the container, so in peace they are rare.
        readiness_probe: Some(probe("ready.sh", 0, 10, 2)),
        // An answer of any kind is life: a Redis that loads its data is not killed for it.
        liveness_probe: Some(probe("alive.sh", 30, 20, 4)),
        volume_mounts: Some(common_mounts(tenant)),
        ..common(tenant)
    }
}

fn common(tenant: &ValidTenant) -> Container {
    Container {
        image: Some(tenant.redis.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        env: Some(vec![pod::env("KEYSTEAD_TENANT", tenant.name.as_str())]),
        security_context: Some(pod::container_security()),
        ..Container::default()
    }
}

fn common_mounts(tenant: &ValidTenant) -> Vec<VolumeMount> {
    let mut mounts = vec![
        config_mount(),
        pod::mount(USERS, "/etc/keystead/users", true),
        pod::mount(names::DATA, "/data", false),
    ];
    mounts.extend(tenant.redis.tls.as_ref().map(|_| tls::mount()));
    mounts
}

fn config_mount() -> VolumeMount {
    pod::mount(CONFIG, "/etc/keystead/redis", true)
}

/// A script of the ConfigMap, with its arguments.
fn script(words: &str) -> ExecAction {
    let mut words = words.split(' ').map(str::to_owned);
    let path = words.next().map(|name| format!("/etc/keystead/redis/{name}"));
    ExecAction { command: Some(["/bin/sh".to_owned()].into_iter().chain(path).chain(words).collect()) }
}

fn pre_stop(name: &str) -> Lifecycle {
    Lifecycle {
        pre_stop: Some(LifecycleHandler { exec: Some(script(name)), ..LifecycleHandler::default() }),
        ..Lifecycle::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

/// It may wait for other members for as long as it takes. Asked often: a rollout waits for each.
fn startup() -> Probe {
    probe("ready.sh", 0, 1, i32::MAX)
}

/// One that decides over life begins later.
fn probe(name: &str, delay: i32, period: i32, failures: i32) -> Probe {
    Probe {
        exec: Some(script(name)),
        initial_delay_seconds: (delay > 0).then_some(delay),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
