//! Turns the raw resource into a [`ValidTenant`], whose types leave no wrong state. Pure: no client, no clock. Nothing
//! after it reads the raw spec.

mod redis;

use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscalerBehavior, apimachinery::pkg::api::resource::Quantity,
};
use keystead_crds::{
    AuditSpec, DeletionPolicy, InvalidQuantity, InvalidSetting, NetworkSpec, Profile, Resources,
    ScheduleSpec, Tenant, TenantSpec, WebhookSpec, canonical,
};
use keystead_route::{
    Algorithm, Cache, InvalidCron, InvalidTenantName, Issuer, Limits, Schedule, SignUp, TenantName,
    WebhookTarget, Webhooks,
};

use kube::ResourceExt as _;

use super::{
    accepted,
    credentials::Needs,
    rotation::{REQUEST_ANNOTATION, signing},
    sleep::{Sleep, Stage},
};
use crate::settings::Settings;

pub use redis::{
    Arrangement, Provisioned, Shards, Storage, ValidRedis, ValidTls, takes_the_place_of, version_numbers,
};

/// Most pods of a worker that scales by itself, where the spec does not say.
const DEFAULT_MAX_REPLICAS: i32 = 10;

/// A tenant that can be built.
#[derive(Clone, Debug)]
pub struct ValidTenant {
    pub name: TenantName,
    pub uid: String,
    /// That of the Tenant whose spec this is.
    pub generation: Option<i64>,
    /// That spec, as it is kept for when another one is refused.
    pub accepted: Option<String>,
    /// What the annotation that asks for new passwords says.
    pub rotation_request: Option<String>,
    /// What the annotation that asks for another signing key says.
    pub signing_request: Option<String>,
    /// For how long a password is still valid after another took its place.
    pub password_overlap: Duration,
    pub suspended: bool,
    pub redis: ValidRedis,
    pub limits: Limits,
    pub auth: ValidAuth,
    pub cache: Option<Cache>,
    pub audit: Option<ValidAudit>,
    /// Version of the key that values are written with; none: they are not encrypted.
    pub encryption: Option<u32>,
    pub worker: ValidWorker,
    /// Redis that only answer reads.
    pub readers: Option<Scaling>,
    pub network: NetworkSpec,
    /// After which time without use it sleeps; none: never.
    pub idle_after: Option<Duration>,
    /// Whether it sleeps, where it may; nothing of it follows from the spec alone.
    pub sleep: Option<Sleep>,
    /// No pod of Redis is to run.
    pub redis_rests: bool,
}

impl ValidTenant {
    /// No pod of the worker is to run, as the tenant sleeps.
    pub fn rests(&self) -> bool {
        self.is_in(Stage::Asleep)
    }

    /// Whether it is in this stage of its sleep.
    pub fn is_in(&self, stage: Stage) -> bool {
        self.sleep.as_ref().is_some_and(|sleep| sleep.stage == stage)
    }

    /// With what follows from its sleep. Readers keep nothing, so nothing of them is kept.
    #[must_use]
    pub fn sleeping(mut self, sleep: Option<Sleep>, redis_rests: bool) -> Self {
        self.sleep = sleep;
        if self.rests() {
            self.worker.replicas = Replicas::Fixed(0);
            self.readers = None;
            self.redis_rests = redis_rests;
        }
        self
    }

    /// Whether anybody may reach its Redis beside us.
    pub fn has_clients(&self) -> bool {
        !self.network.allow_from.is_empty()
    }

    /// What its Secret must hold.
    pub fn needs(&self) -> Needs {
        Needs {
            signing: self.auth.signing,
            encryption: self.encryption,
            topology: self.redis.topology(),
            app: self.has_clients(),
            webhooks: !self.worker.webhooks.is_empty(),
        }
    }
}

/// CPU and memory in canonical form. A limit of memory always, one of CPU only where it is asked for.
#[derive(Clone, Debug)]
pub struct ValidResources {
    pub cpu_request: Quantity,
    pub cpu_limit: Option<Quantity>,
    pub memory_request: Quantity,
    pub memory_limit: Quantity,
}

/// How users are authenticated.
#[derive(Clone, Debug)]
pub struct ValidAuth {
    pub sign_up: SignUp,
    pub access_token_ttl: Duration,
    pub refresh_token_ttl: Duration,
    pub signing: Algorithm,
    /// Secret in which somebody else keeps the key that signs.
    pub existing_secret: Option<String>,
    /// Another key is made after this time.
    pub rotate_after: Option<Duration>,
    pub issuers: Vec<Issuer>,
}

/// The audit log, where there is one.
#[derive(Clone, Debug)]
pub struct ValidAudit {
    pub max_entries: u64,
    /// A Loki to which the worker sends it.
    pub loki_url: Option<String>,
}

/// The worker of a [`ValidTenant`].
#[derive(Clone, Debug)]
pub struct ValidWorker {
    pub image: WorkerImage,
    pub replicas: Replicas,
    pub concurrency: u32,
    pub resources: ValidResources,
    pub schedules: Vec<Schedule>,
    pub webhooks: Webhooks,
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

    /// The fewest pods there ought to be: 0 also where they come with the first job.
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
    /// Jobs for each pod; none: the queue does not count.
    pub queue_depth: Option<i32>,
    pub behavior: Behavior,
}

/// How eagerly pods come and go.
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
    #[error(
        "redis.durability Fsync needs Redis 7.2 or later (WAITAOF), this one is {version}: set redis.version, or durability to Async or Replicated"
    )]
    FsyncTooNew { version: String },
    #[error(
        "Redis {version} does not read the files of {running}, which has written them: choose {running} or later. Where the tag of redis.image is not the version of its Redis, name the image by its digest only"
    )]
    Downgrade { version: String, running: String },
    #[error("{field}: {source}")]
    Quantity { field: &'static str, source: InvalidQuantity },
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    #[error("{field} is {value:?}: write a duration such as 30m or 168h")]
    Duration { field: &'static str, value: String },
    #[error("worker.schedules, {name}: {source}")]
    Schedule { name: String, source: InvalidCron },
    #[error("worker.webhooks, {host}: {range:?} is no address range: write one such as 10.1.0.0/16")]
    Webhook { host: String, range: String },
    #[error("{field} is {value}: it is out of range")]
    Range { field: &'static str, value: i64 },
}

/// Checks a Tenant. `provisioned` is the Redis which is there already: a tenant that names no version stays on it when the
/// operator's default changes, and one that names its version when the operator's table has lost that.
pub fn validate(
    tenant: &Tenant,
    settings: &Settings,
    provisioned: Option<Provisioned<'_>>,
) -> Result<ValidTenant, Invalid> {
    let name: TenantName = tenant.metadata.name.clone().unwrap_or_default().parse()?;
    let spec = &tenant.spec;
    let redis = redis::valid(spec, settings, provisioned)?;
    Ok(ValidTenant {
        name,
        uid: tenant.metadata.uid.clone().unwrap_or_default(),
        generation: tenant.metadata.generation,
        accepted: accepted::text(tenant, &redis),
        rotation_request: tenant.annotations().get(REQUEST_ANNOTATION).cloned(),
        signing_request: tenant.annotations().get(signing::REQUEST_ANNOTATION).cloned(),
        password_overlap: settings.password_overlap,
        suspended: spec.suspend,
        redis,
        limits: Limits {
            max_key_bytes: in_range("limits.maxKeyBytes", spec.limits.max_key_bytes.into())?,
            max_value_bytes: in_range("limits.maxValueBytes", spec.limits.max_value_bytes)?,
            default_ttl_seconds: in_range("limits.defaultTtlSeconds", spec.limits.default_ttl_seconds)?,
            max_keys: optional("limits.maxKeys", spec.limits.max_keys)?,
            requests_per_second: optional("limits.requestsPerSecond", spec.limits.requests_per_second)?,
            burst: optional("limits.burst", spec.limits.burst)?,
            user_requests_per_second: optional(
                "limits.userRequestsPerSecond",
                spec.limits.user_requests_per_second,
            )?,
            user_burst: optional("limits.userBurst", spec.limits.user_burst)?,
        },
        auth: ValidAuth {
            sign_up: spec.auth.sign_up,
            access_token_ttl: duration("auth.accessTokenTtl", &spec.auth.access_token_ttl)?,
            refresh_token_ttl: duration("auth.refreshTokenTtl", &spec.auth.refresh_token_ttl)?,
            signing: spec.auth.signing.into(),
            existing_secret: spec.auth.existing_secret.clone(),
            rotate_after: (spec.auth.rotate_after.as_ref())
                .map(|after| duration("auth.rotateAfter", after))
                .transpose()?,
            issuers: spec.auth.issuers.iter().cloned().map(Issuer::from).collect(),
        },
        cache: (spec.cache.enabled)
            .then(|| Ok::<_, Invalid>(Cache { max_bytes: in_range("cache.maxBytes", spec.cache.max_bytes)? }))
            .transpose()?,
        audit: (spec.audit.enabled).then(|| audit(&spec.audit)).transpose()?,
        encryption: (spec.encryption.enabled)
            .then(|| in_range("encryption.keyVersion", spec.encryption.key_version.into()))
            .transpose()?,
        worker: worker(spec, settings)?,
        readers: spec.autoscaling.readers.as_ref().map(|readers| Scaling {
            min: readers.min_replicas,
            max: readers.max_replicas,
            cpu_utilization: readers.cpu_utilization,
            queue_depth: None,
            behavior: behavior(readers.profile, readers.behavior.as_ref()),
        }),
        network: spec.network.clone(),
        idle_after: (spec.hibernation.as_ref())
            .map(|hibernation| duration("hibernation.idleAfter", &hibernation.idle_after))
            .transpose()?,
        sleep: None,
        redis_rests: false,
    })
}

/// The deletion policy needs no validation: it must be found also for a spec that cannot be carried out.
pub fn deletion_policy(tenant: &Tenant) -> DeletionPolicy {
    tenant.spec.deletion_policy
}

fn audit(spec: &AuditSpec) -> Result<ValidAudit, Invalid> {
    let max_entries = in_range("audit.maxEntries", spec.max_entries)?;
    Ok(ValidAudit { max_entries, loki_url: spec.loki_url.clone() })
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
            queue_depth: settings.queue_metric.then_some(scaling.queue_depth),
            behavior: behavior(scaling.profile, scaling.behavior.as_ref()),
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
        webhooks: Webhooks(worker.webhooks.iter().map(webhook).collect::<Result<_, _>>()?),
    })
}

fn behavior(profile: Profile, own: Option<&HorizontalPodAutoscalerBehavior>) -> Behavior {
    match (profile, own) {
        (Profile::Custom, Some(behavior)) => Behavior::Custom(behavior.clone()),
        (Profile::Cache, _) => Behavior::Cache,
        (Profile::Api | Profile::Custom, _) => Behavior::Api,
    }
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

fn webhook(spec: &WebhookSpec) -> Result<WebhookTarget, Invalid> {
    let ports = match (spec.ports.as_slice(), spec.allow_http) {
        ([], false) => &[443],
        ([], true) => &[80, 443][..],
        (ports, _) => ports,
    };
    let ports = ports.iter().map(|port| in_range("worker.webhooks.ports", i64::from(*port)));
    let address = |range: &String| {
        let network: Result<IpNet, _> = range.parse();
        network
            .map(|network| network.trunc())
            .map_err(|_| Invalid::Webhook { host: spec.host.clone(), range: range.clone() })
    };
    Ok(WebhookTarget {
        host: spec.host.clone(),
        ports: ports.collect::<Result<_, _>>()?,
        allow_http: spec.allow_http,
        addresses: spec.addresses.iter().map(address).collect::<Result<_, _>>()?,
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
