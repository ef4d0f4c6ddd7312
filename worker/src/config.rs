//! The worker's flags; each can come from the environment.

use std::{fmt::Display, fs, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser};
use keystead_kv::Keyring;
use keystead_route::{DataKey, Durability, Encryption, Endpoint, Limits, Schedule, TenantName, Tls};
use keystead_telemetry::{LogFormat, TracingArguments};

use crate::{loki::LokiArguments, webhook::WebhookArguments};

/// Runs one tenant's jobs.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    /// The tenant whose jobs these are.
    #[arg(long, env = "KEYSTEAD_TENANT")]
    pub(crate) tenant: TenantName,
    #[command(flatten)]
    pub(crate) redis: Redis,
    /// ACL user; none for a Redis without users.
    #[arg(long, env = "KEYSTEAD_REDIS_USERNAME")]
    pub(crate) redis_username: Option<String>,
    /// File with the user's password.
    #[arg(long, env = "KEYSTEAD_REDIS_PASSWORD_FILE")]
    pub(crate) redis_password_file: Option<PathBuf>,
    /// File with the certificates, as PEM, of the authorities that may have signed that of a Redis reached by TLS; none: it is
    /// reached without.
    #[arg(long, env = "KEYSTEAD_REDIS_CA_FILE")]
    pub(crate) redis_ca_file: Option<PathBuf>,
    /// Folder with the keys of encrypted values: each a file with 32 bytes in base64.
    #[arg(long, env = "KEYSTEAD_ENCRYPTION_KEYS", value_name = "DIR")]
    pub(crate) encryption_keys: Option<PathBuf>,
    /// File in that folder with whose key values are written; when left out they are not encrypted any more.
    #[arg(long, env = "KEYSTEAD_ENCRYPTION_KEY", value_name = "NAME", requires = "encryption_keys")]
    pub(crate) encryption_key: Option<String>,
    /// Seconds after the start within which gateways may still write with the key before; the re-encryption waits for them.
    #[arg(long, env = "KEYSTEAD_ENCRYPTION_CHANGE_OVER", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(crate) encryption_change_over: u64,
    /// Jobs at a time.
    #[arg(long, env = "KEYSTEAD_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) concurrency: u32,
    /// Address of /health/live, /health/ready and /metrics.
    #[arg(long, env = "KEYSTEAD_LISTEN", default_value = "0.0.0.0:9090")]
    pub(crate) listen: SocketAddr,
    /// Bytes that a job may leave in Redis, where they are compressed: what leaves more ends.
    #[arg(long, env = "KEYSTEAD_MAX_RESULT_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub(crate) max_result_bytes: u64,
    /// What an entry may be, as the route has it; when left out as for a Tenant that says nothing.
    #[arg(long, env = "KEYSTEAD_LIMITS", default_value = "null", value_name = "JSON")]
    pub(crate) limits: TenantLimits,
    /// Seconds between two sweeps of expired keys, however many workers there are.
    #[arg(long, env = "KEYSTEAD_SWEEP_EVERY", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) sweep_every: u64,
    /// Seconds between two looks at what the tenant uses, however many workers there are.
    #[arg(long, env = "KEYSTEAD_USAGE_EVERY", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) usage_every: u64,
    #[command(flatten)]
    pub(crate) loki: LokiArguments,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArguments,
    /// Seconds between two looks whether the audit log has something to send, however many workers there are.
    #[arg(long, env = "KEYSTEAD_AUDIT_FLUSH_EVERY", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) audit_flush_every: u64,
    /// Jobs that are queued again and again: a JSON list of name, cron, kind and payload.
    #[arg(long, env = "KEYSTEAD_SCHEDULES", default_value = "[]")]
    pub(crate) schedules: Schedules,
    /// The tenant sleeps where nobody uses it: jobs are noted as a use of it.
    #[arg(long, env = "KEYSTEAD_MAY_SLEEP")]
    pub(crate) may_sleep: bool,
    /// Seconds that running jobs get when the process is asked to end; the rest goes back to the queue.
    #[arg(long, env = "KEYSTEAD_SHUTDOWN_GRACE", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(crate) shutdown_grace: u64,
    /// What to log: `info`, `debug`, or a filter such as `keystead_worker=debug,warn`.
    #[arg(long, env = "KEYSTEAD_LOG", default_value = "info")]
    pub(crate) log: String,
    #[arg(long, env = "KEYSTEAD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) tracing: TracingArguments,
}

/// Where the tenant's Redis is: one address, the Sentinels of several, or the shards of a cluster.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Redis {
    /// `host:port` of the tenant's Redis, where there is one.
    #[arg(
        long = "redis-address",
        env = "KEYSTEAD_REDIS_ADDRESS",
        value_name = "HOST:PORT",
        required_unless_present_any = ["sentinels", "shards"],
        conflicts_with_all = ["sentinels", "primary_name", "members", "shards"]
    )]
    address: Option<String>,
    /// `host:port` of each Sentinel, where there are several Redis.
    #[arg(
        long = "redis-sentinels",
        env = "KEYSTEAD_REDIS_SENTINELS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        requires_all = ["primary_name", "members"]
    )]
    sentinels: Vec<String>,
    /// The name by which the Sentinels know the primary.
    #[arg(
        long = "redis-primary-name",
        env = "KEYSTEAD_REDIS_PRIMARY_NAME",
        value_name = "NAME",
        requires = "sentinels"
    )]
    primary_name: Option<String>,
    /// `host:port` of each Redis that may be the primary.
    #[arg(
        long = "redis-members",
        env = "KEYSTEAD_REDIS_MEMBERS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        requires = "sentinels"
    )]
    members: Vec<String>,
    /// `host:port` of each Redis of each shard of a cluster: members stand behind `,`, shards behind `;`.
    #[arg(
        long = "redis-shards",
        env = "KEYSTEAD_REDIS_SHARDS",
        value_name = "HOST:PORT,…;HOST:PORT,…",
        value_delimiter = ';',
        conflicts_with_all = ["sentinels", "primary_name", "members"]
    )]
    shards: Vec<String>,
    /// When a write is acknowledged.
    #[arg(
        long = "redis-durability",
        env = "KEYSTEAD_REDIS_DURABILITY",
        value_name = "Async|Replicated|Fsync",
        default_value = "Async",
        value_parser = durability
    )]
    pub(crate) durability: Durability,
}

impl Redis {
    pub(crate) fn endpoint(&self) -> Endpoint {
        if !self.shards.is_empty() {
            let members = |shard: &String| shard.split(',').map(str::to_owned).collect();
            return Endpoint::Cluster { shards: self.shards.iter().map(members).collect() };
        }
        match (&self.address, &self.primary_name) {
            (None, Some(primary_name)) => Endpoint::Replicated {
                primary_name: primary_name.clone(),
                sentinels: self.sentinels.clone(),
                members: self.members.clone(),
                readers: None,
            },
            (address, _) => Endpoint::Standalone { address: address.clone().unwrap_or_default() },
        }
    }
}

/// As the route has it.
fn durability(text: &str) -> Result<Durability, String> {
    serde_json::from_value(text.into()).map_err(|_| "Async, Replicated or Fsync".to_owned())
}

/// The limits of the command line.
#[derive(Clone, Debug)]
pub(crate) struct TenantLimits(pub(crate) Limits);

impl FromStr for TenantLimits {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str::<Option<Limits>>(text).map(|limits| Self(limits.unwrap_or_default()))
    }
}

/// The schedules of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Schedules(pub(crate) Vec<Schedule>);

impl FromStr for Schedules {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text).map(Self)
    }
}

impl Arguments {
    /// Who is trusted.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, String> {
        let Some(file) = &self.redis_ca_file else { return Ok(None) };
        let ca = fs::read_to_string(file);
        ca.map(|ca| Some(Tls { ca })).map_err(|error| format!("--redis-ca-file {}: {error}", file.display()))
    }

    /// The keys of the folder.
    pub(crate) fn keyring(&self) -> Result<Option<Keyring>, String> {
        let Some(folder) = &self.encryption_keys else { return Ok(None) };
        let wrong = |error: &dyn Display| format!("--encryption-keys {}: {error}", folder.display());
        let mut keys = Vec::new();
        for file in fs::read_dir(folder).map_err(|error| wrong(&error))? {
            let file = file.map_err(|error| wrong(&error))?;
            let name = file.file_name().to_string_lossy().into_owned();
            // A mounted Secret has folders of its own, which begin with dots.
            if !name.starts_with('.') {
                let secret = fs::read_to_string(file.path()).map_err(|error| wrong(&error))?.into();
                keys.push(DataKey { name, secret });
            }
        }
        let encryption = Encryption { keys, active_key: self.encryption_key.clone() };
        Keyring::new(&encryption).map(Some).map_err(|error| wrong(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        let all = ["worker", "--tenant", "acme"].iter().chain(arguments);
        Arguments::try_parse_from(all).map_err(|error| error.to_string())
    }

    #[test]
    fn redis_is_one_address_or_sentinels_with_all_that_belongs_to_them_or_shards() {
        let one = parse(&["--redis-address", "a:1"]).unwrap();
        assert_eq!(one.redis.endpoint(), Endpoint::Standalone { address: "a:1".into() });
        assert_eq!(one.redis.durability, Durability::Async);
        let several = [
            "--redis-sentinels=s:1,s:2",
            "--redis-primary-name=shop",
            "--redis-members=a:1,b:1",
            "--redis-durability=Replicated",
        ];
        let parsed = parse(&several).unwrap();
        let endpoint = Endpoint::Replicated {
            primary_name: "shop".into(),
            sentinels: vec!["s:1".into(), "s:2".into()],
            members: vec!["a:1".into(), "b:1".into()],
            readers: None,
        };
        assert_eq!((parsed.redis.endpoint(), parsed.redis.durability), (endpoint, Durability::Replicated));
        let shards = parse(&["--redis-shards=a:1,b:1;c:1"]).unwrap();
        let endpoint =
            Endpoint::Cluster { shards: vec![vec!["a:1".into(), "b:1".into()], vec!["c:1".into()]] };
        assert_eq!(shards.redis.endpoint(), endpoint);
        for (wrong, says) in [
            (vec!["--redis-shards=a:1", "--redis-address=a:1"], "cannot be used with"),
            (vec![], "--redis-address"),
            ([&several[..], &["--redis-address=a:1"]].concat(), "cannot be used with"),
            (several[..2].to_vec(), "--redis-members"),
            (vec!["--redis-sentinels=s:1", "--redis-members=a:1"], "--redis-primary-name"),
            (vec!["--redis-address=a:1", "--redis-durability=Some"], "Async, Replicated or Fsync"),
        ] {
            let error = parse(&wrong).unwrap_err();
            assert!(error.contains(says), "{wrong:?}: {error}");
        }
    }
}
