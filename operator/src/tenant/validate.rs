//! Turns the raw resource into a [`ValidTenant`], whose types leave no wrong state. Pure: no client, no clock. Nothing
//! after it reads the raw spec.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscalerBehavior, apimachinery::pkg::api::resource::Quantity,
};
use keystead_crds::{
    AppendOnly, DeletionPolicy, EvictionPolicy, InvalidQuantity, InvalidSetting, NetworkSpec, Profile,
    Resources, ScheduleSpec, Tenant, TenantSpec, Topology, bytes, canonical, check_setting,
};
use keystead_route::{
    Algorithm, Cache, InvalidCron, InvalidTenantName, Issuer, Limits, Schedule, SignUp, TenantName,
};

use super::{credentials::Needs, names};
use crate::settings::Settings;

/// Most pods of a worker that scales by itself, where the spec does not say.
const DEFAULT_MAX_REPLICAS: i32 = 10;
/// Size of a volume, where the spec does not say.
const DEFAULT_STORAGE: &str = "1Gi";

/// A tenant that can be built.
#[derive(Clone, Debug)]
pub struct ValidTenant {
    pub name: TenantName,
    pub uid: String,
    pub suspended: bool,
    pub redis: ValidRedis,
    pub limits: Limits,
    pub auth: ValidAuth,
    pub cache: Option<Cache>,
    /// Version of the key that values are written with; none: they are not encrypted.
    pub encryption: Option<u32>,
    pub worker: ValidWorker,
    pub network: NetworkSpec,
}

impl ValidTenant {
    /// What its Secret must hold.
    pub fn needs(&self) -> Needs {
        Needs { signing: self.auth.signing, encryption: self.encryption }
    }
}

/// The Redis of a [`ValidTenant`].
#[derive(Clone, Debug)]
pub struct ValidRedis {
    pub topology: Topology,
    pub image: String,
    /// Of the operator's table, or the tag or digest of the spec's own image.
    pub version: String,
    pub resources: ValidResources,
    /// `maxmemory`, in bytes.
    pub max_memory: u64,
    pub storage: Storage,
    pub append_only: AppendOnly,
    pub eviction: EvictionPolicy,
    /// Further lines of redis.conf, each checked.
    pub config: BTreeMap<String, String>,
}

/// CPU and memory in canonical form. A limit of memory always, one of CPU only where it is asked for.
#[derive(Clone, Debug)]
pub struct ValidResources {
    pub cpu_request: Quantity,
    pub cpu_limit: Option<Quantity>,
    pub memory_request: Quantity,
    pub memory_limit: Quantity,
}

/// Where the data lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    Volume { size: Quantity, class: Option<String> },
    Ephemeral,
}

/// How users are authenticated.
#[derive(Clone, Debug)]
pub struct ValidAuth {
    pub sign_up: SignUp,
    pub access_token_ttl: Duration,
    pub refresh_token_ttl: Duration,
    pub signing: Algorithm,
    pub issuers: Vec<Issuer>,
}

/// The worker of a [`ValidTenant`].
#[derive(Clone, Debug)]
pub struct ValidWorker {
    pub image: WorkerImage,
    pub replicas: Replicas,
    pub concurrency: u32,
    pub resources: ValidResources,
    pub schedules: Vec<Schedule>,
}

/// Whose worker it is: ours is started by its path in the gateway's image, the tenant's by its own entrypoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerImage {
    Ours(String),
    Own(String),
}

/// How many pods the worker has.
#[derive(Clone, Debug, PartialEq)]
pub enum Replicas {
    Fixed(i32),
    /// By a HorizontalPodAutoscaler.
    Scaled(Box<Scaling>),
}

impl Replicas {
    /// The most pods there can be.
    pub fn most(&self) -> i32 {
        match self {
            Self::Fixed(replicas) => *replicas,
            Self::Scaled(scaling) => scaling.max,
        }
    }

    /// The fewest pods there ought to be.
    pub fn least(&self) -> i32 {
        match self {
            Self::Fixed(replicas) => *replicas,
            Self::Scaled(scaling) => scaling.min,
        }
    }
}

/// The bounds and the manner of scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    pub min: i32,
    pub max: i32,
    /// In percent of the request.
    pub cpu_utilization: i32,
    pub behavior: Behavior,
}

/// How eagerly the worker's pods come and go.
#[derive(Clone, Debug, PartialEq)]
pub enum Behavior {
    Api,
    Cache,
    Custom(HorizontalPodAutoscalerBehavior),
}

/// Why a spec cannot be carried out: it waits for somebody to change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error(transparent)]
    Name(#[from] InvalidTenantName),
    #[error(
        "the operator has no image for redis.version {version}: choose one of {known}, or give redis.image"
    )]
    UnknownVersion { version: String, known: String },
    #[error("{field}: {source}")]
    Quantity { field: &'static str, source: InvalidQuantity },
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error("{field} is {value:?}: write a duration such as 30m or 168h")]
    Duration { field: &'static str, value: String },
    #[error("worker.schedules, {name}: {source}")]
    Schedule { name: String, source: InvalidCron },
    #[error("{field} is {value}: it is out of range")]
    Range { field: &'static str, value: i64 },
}

/// Checks a Tenant. `provisioned_version` is that of the Redis which is there already: a tenant that names no version
/// stays on it when the operator's default changes.
pub fn validate(
    tenant: &Tenant,
    settings: &Settings,
    provisioned_version: Option<&str>,
) -> Result<ValidTenant, Invalid> {
    let name: TenantName = tenant.metadata.name.clone().unwrap_or_default().parse()?;
    let spec = &tenant.spec;
    Ok(ValidTenant {
        name,
        uid: tenant.metadata.uid.clone().unwrap_or_default(),
        suspended: spec.suspend,
        redis: redis(spec, settings, provisioned_version)?,
        limits: Limits {
            max_key_bytes: in_range("limits.maxKeyBytes", spec.limits.max_key_bytes.into())?,
            max_value_bytes: in_range("limits.maxValueBytes", spec.limits.max_value_bytes)?,
            default_ttl_seconds: in_range("limits.defaultTtlSeconds", spec.limits.default_ttl_seconds)?,
            max_keys: optional("limits.maxKeys", spec.limits.max_keys)?,
            requests_per_second: optional("limits.requestsPerSecond", spec.limits.requests_per_second)?,
            burst: optional("limits.burst", spec.limits.burst)?,
        },
        auth: ValidAuth {
            sign_up: spec.auth.sign_up,
            access_token_ttl: duration("auth.accessTokenTtl", &spec.auth.access_token_ttl)?,
            refresh_token_ttl: duration("auth.refreshTokenTtl", &spec.auth.refresh_token_ttl)?,
            signing: spec.auth.signing.into(),
            issuers: spec.auth.issuers.iter().cloned().map(Issuer::from).collect(),
        },
        cache: (spec.cache.enabled)
            .then(|| Ok::<_, Invalid>(Cache { max_bytes: in_range("cache.maxBytes", spec.cache.max_bytes)? }))
            .transpose()?,
        encryption: (spec.encryption.enabled)
            .then(|| in_range("encryption.keyVersion", spec.encryption.key_version.into()))
            .transpose()?,
        worker: worker(spec, settings)?,
        network: spec.network.clone(),
    })
}

/// The deletion policy needs no validation: it must be found also for a spec that cannot be carried out.
pub fn deletion_policy(tenant: &Tenant) -> DeletionPolicy {
    tenant.spec.deletion_policy
}

fn redis(
    spec: &TenantSpec,
    settings: &Settings,
    provisioned_version: Option<&str>,
) -> Result<ValidRedis, Invalid> {
    let redis = &spec.redis;
    for (name, value) in &redis.config {
        check_setting(name, value)?;
    }
    let (image, version) = redis_image(spec, settings, provisioned_version)?;
    let defaults = Defaults { cpu: "50m", memory: "256Mi" };
    let resources =
        resources(&redis.resources, &defaults, ["redis.resources.cpu", "redis.resources.memory"])?;
    let memory = bytes(&resources.memory_limit)
        .map_err(|source| Invalid::Quantity { field: "redis.resources.limits.memory", source })?;
    let storage = if redis.storage.ephemeral {
        Storage::Ephemeral
    } else {
        let size = redis.storage.size.clone().unwrap_or_else(|| Quantity(DEFAULT_STORAGE.into()));
        Storage::Volume {
            size: amount("redis.storage.size", &size)?,
            class: redis.storage.storage_class_name.clone(),
        }
    };
    let append_only = match storage {
        Storage::Ephemeral => AppendOnly::Never,
        Storage::Volume { .. } => redis.persistence.append_only.unwrap_or_default(),
    };
    Ok(ValidRedis {
        topology: redis.topology,
        image,
        version,
        resources,
        // The rest is for the copies that a rewrite of the append-only file makes, client buffers and fragmentation.
        max_memory: memory / 100 * 70,
        storage,
        append_only,
        eviction: redis.eviction_policy,
        config: redis.config.clone(),
    })
}

fn redis_image(
    spec: &TenantSpec,
    settings: &Settings,
    provisioned_version: Option<&str>,
) -> Result<(String, String), Invalid> {
    if let Some(image) = &spec.redis.image {
        let (name, digest) = image.split_once('@').map_or((image.as_str(), None), |(n, d)| (n, Some(d)));
        let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
        let version = tag.or(digest).unwrap_or("latest");
        return Ok((image.clone(), names::label_value(version)));
    }
    let images = &settings.redis_images.0;
    let version = match (&spec.redis.version, provisioned_version) {
        (Some(version), _) => version.as_str(),
        (None, Some(version)) if images.contains_key(version) => version,
        (None, _) => settings.default_redis_version.as_str(),
    };
    let image = images.get(version).ok_or_else(|| Invalid::UnknownVersion {
        version: version.to_owned(),
        known: images.keys().cloned().collect::<Vec<_>>().join(", "),
    })?;
    Ok((image.clone(), version.to_owned()))
}

fn worker(spec: &TenantSpec, settings: &Settings) -> Result<ValidWorker, Invalid> {
    let worker = &spec.worker;
    let scaling = &spec.autoscaling.workers;
    let min = scaling.min_replicas.unwrap_or(worker.replicas);
    let max = scaling.max_replicas.unwrap_or_else(|| DEFAULT_MAX_REPLICAS.max(min));
    let replicas = if spec.suspend || worker.replicas == 0 {
        Replicas::Fixed(0)
    } else if min >= max {
        Replicas::Fixed(min)
    } else {
        Replicas::Scaled(Box::new(Scaling {
            min,
            max,
            cpu_utilization: scaling.cpu_utilization,
            behavior: match (scaling.profile, &scaling.behavior) {
                (Profile::Custom, Some(behavior)) => Behavior::Custom(behavior.clone()),
                (Profile::Cache, _) => Behavior::Cache,
                (Profile::Api | Profile::Custom, _) => Behavior::Api,
            },
        }))
    };
    let defaults = Defaults { cpu: "50m", memory: "128Mi" };
    Ok(ValidWorker {
        image: match &worker.image {
            Some(image) => WorkerImage::Own(image.clone()),
            None => WorkerImage::Ours(settings.worker_image.clone()),
        },
        replicas,
        concurrency: in_range("worker.concurrency", worker.concurrency.into())?,
        resources: resources(
            &worker.resources,
            &defaults,
            ["worker.resources.cpu", "worker.resources.memory"],
        )?,
        schedules: worker.schedules.iter().map(schedule).collect::<Result<_, _>>()?,
    })
}

fn schedule(spec: &ScheduleSpec) -> Result<Schedule, Invalid> {
    let cron = spec.cron.parse().map_err(|source| Invalid::Schedule { name: spec.name.clone(), source })?;
    Ok(Schedule {
        name: spec.name.clone(),
        cron,
        kind: spec.kind.clone(),
        payload: spec.payload.clone().unwrap_or_default(),
    })
}

struct Defaults {
    cpu: &'static str,
    memory: &'static str,
}

/// The request of memory is its limit, where it is not asked for: what Redis was promised cannot be taken from it.
fn resources(
    given: &Resources,
    defaults: &Defaults,
    [cpu, memory]: [&'static str; 2],
) -> Result<ValidResources, Invalid> {
    let or_default =
        |given: &Option<Quantity>, default: &str| given.clone().unwrap_or_else(|| Quantity(default.into()));
    let memory_limit = amount(memory, &or_default(&given.limits.memory, defaults.memory))?;
    let cpu_limit = given.limits.cpu.as_ref().map(|limit| amount(cpu, limit)).transpose()?;
    let cpu_request = match (&given.requests.cpu, &cpu_limit) {
        (Some(request), _) => amount(cpu, request)?,
        (None, Some(limit)) => limit.clone(),
        (None, None) => Quantity(defaults.cpu.into()),
    };
    Ok(ValidResources {
        cpu_request,
        cpu_limit,
        memory_request: match &given.requests.memory {
            Some(request) => amount(memory, request)?,
            None => memory_limit.clone(),
        },
        memory_limit,
    })
}

fn amount(field: &'static str, quantity: &Quantity) -> Result<Quantity, Invalid> {
    canonical(quantity).map_err(|source| Invalid::Quantity { field, source })
}

fn in_range<T: TryFrom<i64>>(field: &'static str, value: i64) -> Result<T, Invalid> {
    T::try_from(value).map_err(|_| Invalid::Range { field, value })
}

fn optional<T: TryFrom<i64>>(
    field: &'static str,
    value: Option<impl Into<i64>>,
) -> Result<Option<T>, Invalid> {
    value.map(|value| in_range(field, value.into())).transpose()
}

/// Hours, minutes and seconds, such as `1h30m`.
fn duration(field: &'static str, text: &str) -> Result<Duration, Invalid> {
    let invalid = || Invalid::Duration { field, value: text.to_owned() };
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let number: u64 = rest[..end].parse().map_err(|_| invalid())?;
        let seconds = match rest.as_bytes()[end] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(invalid()),
        };
        total = number.checked_mul(seconds).and_then(|it| total.checked_add(it)).ok_or_else(invalid)?;
        rest = &rest[end + 1..];
    }
    if total == 0 { Err(invalid()) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests;
