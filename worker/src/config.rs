//! The worker's flags; each can come from the environment.

use std::{fmt::Display, fs, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Parser, ValueEnum};
use keystead_kv::Keyring;
use keystead_route::{DataKey, Encryption, Schedule, TenantName};
use tracing_subscriber::EnvFilter;

/// Runs one tenant's jobs.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    /// The tenant whose jobs these are.
    #[arg(long, env = "KEYSTEAD_TENANT")]
    pub(crate) tenant: TenantName,
    /// `host:port` of the tenant's Redis.
    #[arg(long, env = "KEYSTEAD_REDIS_ADDRESS")]
    pub(crate) redis_address: String,
    /// ACL user; none for a Redis without users.
    #[arg(long, env = "KEYSTEAD_REDIS_USERNAME")]
    pub(crate) redis_username: Option<String>,
    /// File with the user's password.
    #[arg(long, env = "KEYSTEAD_REDIS_PASSWORD_FILE")]
    pub(crate) redis_password_file: Option<PathBuf>,
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
    /// Largest result of a job, in bytes: what is larger ends the job.
    #[arg(long, env = "KEYSTEAD_MAX_RESULT_BYTES", default_value_t = 8 * 1024 * 1024)]
    pub(crate) max_result_bytes: usize,
    /// Seconds between two sweeps of expired keys, however many workers there are.
    #[arg(long, env = "KEYSTEAD_SWEEP_EVERY", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) sweep_every: u64,
    /// Jobs that are queued again and again: a JSON list of name, cron, kind and payload.
    #[arg(long, env = "KEYSTEAD_SCHEDULES", default_value = "[]")]
    pub(crate) schedules: Schedules,
    /// Seconds that running jobs get when the process is asked to end; the rest goes back to the queue.
    #[arg(long, env = "KEYSTEAD_SHUTDOWN_GRACE", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub(crate) shutdown_grace: u64,
    /// What to log: `info`, `debug`, or a filter such as `keystead_worker=debug,warn`.
    #[arg(long, env = "KEYSTEAD_LOG", default_value = "info")]
    pub(crate) log: String,
    #[arg(long, env = "KEYSTEAD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub(crate) log_format: LogFormat,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

impl Arguments {
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

/// Begins logging to standard error.
pub(crate) fn init_logs(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log {filter:?}: {error}"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Text => logs.init(),
    }
    Ok(())
}
