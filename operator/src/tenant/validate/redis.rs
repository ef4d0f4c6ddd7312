//! `spec.redis`, turned into [`ValidRedis`]. Pure.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use keystead_crds::{AppendOnly, EvictionPolicy, RedisSpec, TenantSpec, Topology, bytes, check_setting};
use keystead_route::{Durability, Reads};

use super::{Defaults, Invalid, ValidResources, amount, duration, in_range, resources};
use crate::{settings::Settings, tenant::names};

/// Redis of a Replicated topology, where the spec does not say.
const DEFAULT_MEMBERS: i32 = 3;
/// Of a Cluster topology.
const DEFAULT_SHARDS: i32 = 3;
const DEFAULT_REPLICAS: i32 = 1;
/// Size of a volume, where the spec does not say.
const DEFAULT_STORAGE: &str = "1Gi";

/// The Redis of a [`ValidTenant`].
#[derive(Clone, Debug)]
pub struct ValidRedis {
    pub arrangement: Arrangement,
    pub durability: Durability,
    pub reads: Reads,
    /// It is known to be 7.2 or later, or has to be.
    pub knows_waitaof: bool,
    /// Secret in which somebody else keeps the passwords.
    pub existing_secret: Option<String>,
    /// New passwords are made after this time.
    pub rotate_after: Option<Duration>,
    pub image: String,
    /// Of the operator's table, or the tag or digest of the spec's own image.
    pub version: String,
    /// Where the operator's table no longer has that version: those that it has.
    pub unlisted: Option<String>,
    pub resources: ValidResources,
    /// `maxmemory`, in bytes.
    pub max_memory: u64,
    pub storage: Storage,
    pub append_only: AppendOnly,
    pub eviction: EvictionPolicy,
    /// None: what is sent is not encrypted.
    pub tls: Option<ValidTls>,
    /// Further lines of redis.conf, each checked.
    pub config: BTreeMap<String, String>,
}

/// The TLS of a [`ValidRedis`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidTls {
    /// Secret with the authority that signs; none: we make one.
    pub issuer_secret: Option<String>,
}

/// The Redis that is there already.
#[derive(Clone, Copy, Debug)]
pub struct Provisioned<'a> {
    /// As a label's value.
    pub version: &'a str,
    pub image: Option<&'a str>,
    /// It is known to have written the data: it may also never have come up.
    pub has_written: bool,
}

/// How many Redis there are, and what they are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// One, without a Sentinel.
    Standalone,
    /// Several that hold the same, each with a Sentinel.
    Replicated { members: u8 },
    /// Several that each hold a part, with others that follow them.
    Cluster(Shards),
}

/// The shards of a Cluster topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    /// Those from 0 on that are to hold the data.
    pub wanted: u8,
    /// Numbers of those that are to go and may still hold some of it, ascending.
    pub leaving: Vec<u8>,
    /// Of each, beside the one that takes the writes.
    pub replicas: u8,
}

impl Shards {
    /// The numbers of all that there are.
    pub fn numbers(&self) -> impl Iterator<Item = u8> {
        (0..self.wanted).chain(self.leaving.iter().copied())
    }

    /// The pods of one.
    pub fn pods(&self, shard: u8) -> impl Iterator<Item = String> {
        (0..=self.replicas).map(move |ordinal| names::shard_member(shard, ordinal))
    }
}

impl ValidRedis {
    pub fn topology(&self) -> Topology {
        match self.arrangement {
            Arrangement::Standalone => Topology::Standalone,
            Arrangement::Replicated { .. } => Topology::Replicated,
            Arrangement::Cluster(_) => Topology::Cluster,
        }
    }

    /// Whether there are several, which the operator asks how they are.
    pub fn has_members(&self) -> bool {
        self.arrangement != Arrangement::Standalone
    }

    /// What is to be said where the operator's table no longer has its version.
    pub fn unlisted(&self) -> Option<String> {
        let Self { version, image, .. } = self;
        let known = self.unlisted.as_ref()?;
        Some(format!(
            "the operator has no image for Redis {version} any more, so it stays on {image}: choose one of {known} as redis.version"
        ))
    }

    pub fn shards(&self) -> Option<&Shards> {
        match &self.arrangement {
            Arrangement::Cluster(shards) => Some(shards),
            Arrangement::Standalone | Arrangement::Replicated { .. } => None,
        }
    }

    /// The pods of Redis.
    pub fn pods(&self) -> Vec<String> {
        match &self.arrangement {
            Arrangement::Standalone => vec![names::FIRST_POD.to_owned()],
            Arrangement::Replicated { members } => (0..*members).map(names::member).collect(),
            Arrangement::Cluster(shards) => shards.numbers().flat_map(|shard| shards.pods(shard)).collect(),
        }
    }
}

/// Where the data lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    Volume { size: Quantity, class: Option<String> },
    Ephemeral,
}

pub(super) fn valid(
    spec: &TenantSpec,
    settings: &Settings,
    provisioned: Option<Provisioned<'_>>,
) -> Result<ValidRedis, Invalid> {
    let redis = &spec.redis;
    for (name, value) in &redis.config {
        check_setting(name, value)?;
    }
    let Release { image, version, unlisted } = redis_image(spec, settings, provisioned)?;
    let durability = redis.durability.into();
    if durability == Durability::Fsync && is_before(&version, [7, 2]) {
        return Err(Invalid::FsyncTooNew { version });
    }
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
        arrangement: arrangement(redis)?,
        durability,
        reads: redis.reads.into(),
        knows_waitaof: durability == Durability::Fsync || is_from(&version, [7, 2]),
        existing_secret: redis.credentials.existing_secret.clone(),
        rotate_after: redis
            .credentials
            .rotate_after
            .as_ref()
            .map(|text| duration("redis.credentials.rotateAfter", text))
            .transpose()?,
        image,
        version,
        unlisted,
        resources,
        // The rest is for the copies that a rewrite of the append-only file makes, client buffers and fragmentation.
        max_memory: memory / 100 * 70,
        storage,
        append_only,
        eviction: redis.eviction_policy,
        tls: (redis.tls.enabled).then(|| ValidTls { issuer_secret: redis.tls.issuer_secret_ref.clone() }),
        config: redis.config.clone(),
    })
}

fn arrangement(redis: &RedisSpec) -> Result<Arrangement, Invalid> {
    let number = |field, given: Option<i32>, default: i32| in_range(field, given.unwrap_or(default).into());
    Ok(match redis.topology {
        Topology::Standalone => Arrangement::Standalone,
        Topology::Replicated => {
            Arrangement::Replicated { members: number("redis.members", redis.members, DEFAULT_MEMBERS)? }
        }
        Topology::Cluster => Arrangement::Cluster(Shards {
            wanted: number("redis.shards", redis.shards, DEFAULT_SHARDS)?,
            leaving: Vec::new(),
            replicas: number("redis.replicasPerShard", redis.replicas_per_shard, DEFAULT_REPLICAS)?,
        }),
    })
}

/// Which Redis is to run.
struct Release {
    image: String,
    version: String,
    unlisted: Option<String>,
}

fn redis_image(
    spec: &TenantSpec,
    settings: &Settings,
    provisioned: Option<Provisioned<'_>>,
) -> Result<Release, Invalid> {
    if let Some(image) = &spec.redis.image {
        let (name, digest) = image.split_once('@').map_or((image.as_str(), None), |(n, d)| (n, Some(d)));
        let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
        let version = names::label_value(tag.or(digest).unwrap_or("latest"));
        return Ok(Release { image: image.clone(), version, unlisted: None });
    }
    let images = &settings.redis_images.0;
    let default = settings.default_redis_version.as_str();
    let stays = |there: &Provisioned<'_>| {
        images.contains_key(there.version) || (there.has_written && is_later(there.version, default))
    };
    let version = match (&spec.redis.version, provisioned) {
        (Some(version), _) => version.as_str(),
        (None, Some(there)) if stays(&there) => there.version,
        (None, _) => default,
    };
    if let Some(image) = images.get(version) {
        return Ok(Release { image: image.clone(), version: version.to_owned(), unlisted: None });
    }
    let known = images.keys().cloned().collect::<Vec<_>>().join(", ");
    let there = provisioned.filter(|there| there.version == names::label_value(version));
    match there.and_then(|there| there.image) {
        Some(image) => {
            Ok(Release { image: image.to_owned(), version: version.to_owned(), unlisted: Some(known) })
        }
        None => Err(Invalid::UnknownVersion { version: version.to_owned(), known }),
    }
}

/// Whether it is known to be a later one, whose files the other would not read.
fn is_later(version: &str, than: &str) -> bool {
    matches!((version_numbers(version), version_numbers(than)), (Some(own), Some(other)) if own > other)
}

/// Whether it is known to be an earlier one; the tag of somebody's own image may be anything.
fn is_before(version: &str, least: [u32; 2]) -> bool {
    version_numbers(version).is_some_and(|own| own < least)
}

/// Whether it is known to be this one or a later one.
fn is_from(version: &str, least: [u32; 2]) -> bool {
    version_numbers(version).is_some_and(|own| own >= least)
}

/// Whether it takes the place of a later one, whose files it would not read. Where its tag says nothing of its version nobody knows.
pub fn takes_the_place_of(redis: &ValidRedis, running: &str) -> Result<(), Invalid> {
    if is_later(running, &redis.version) {
        return Err(Invalid::Downgrade { version: redis.version.clone(), running: running.to_owned() });
    }
    Ok(())
}

/// Major and minor, where it begins with them.
pub fn version_numbers(version: &str) -> Option<[u32; 2]> {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    Some([numbers.next()??, numbers.next()??])
}
