//! The gateway's flags; each can come from the environment.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use ipnet::IpNet;
use keystead_telemetry::{LogFormat, TracingArguments};

use crate::{telemetry::AccessLog, tenants::Source};

/// The door to every tenant's Redis.
#[derive(Debug, Parser)]
#[command(version, about)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["routes", "routes_namespace"])))]
pub struct Arguments {
    /// Address of the REST API.
    #[arg(long, env = "KEYSTEAD_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of `/metrics`.
    #[arg(long, env = "KEYSTEAD_METRICS_LISTEN", default_value = "0.0.0.0:9090")]
    pub metrics_listen: SocketAddr,
    /// Address of the platform's own API (log levels); loopback, so that it takes a forwarded port to reach it.
    #[arg(long, env = "KEYSTEAD_ADMIN_LISTEN", default_value = "127.0.0.1:9091")]
    pub admin_listen: SocketAddr,
    /// Requests that are logged: `off`, `all`, or `1/N` for one of N and, up to 20 a second of each tenant, what failed for the
    /// gateway's or a Redis' sake.
    #[arg(long, env = "KEYSTEAD_ACCESS_LOG", default_value = "1/100")]
    pub access_log: AccessLog,
    /// Log-ins from one address that may fail within five minutes before the next is refused, in this process; 0: any
    /// number. When left out 100 with trusted proxies, and any number without: behind a proxy all clients have one address.
    #[arg(long, env = "KEYSTEAD_FAILURES_PER_ADDRESS")]
    pub failures_per_address: Option<u32>,
    /// Networks of proxies, such as 10.0.0.0/8, whose `X-Forwarded-For` is believed; several separated by commas.
    #[arg(long, env = "KEYSTEAD_TRUSTED_PROXIES", value_name = "NETWORK", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,
    /// Name and port of a headless Service of the gateways, by which they find each other.
    #[arg(long, env = "KEYSTEAD_PEERS", value_name = "NAME:PORT")]
    pub peers: Option<String>,
    /// Threads that serve requests, each with a connection of its own to each tenant's Redis; one less than there are cores
    /// when left out, and at least one. Passwords are hashed on others.
    #[arg(long, env = "KEYSTEAD_THREADS", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: Option<u16>,
    /// Folder with a route in `<tenant>.json` for each tenant; changes are followed.
    #[arg(long, env = "KEYSTEAD_ROUTES", value_name = "DIR")]
    pub routes: Option<PathBuf>,
    /// Namespace whose Secrets with the label keystead.io/route=true are the routes.
    #[arg(long, env = "KEYSTEAD_ROUTES_NAMESPACE", value_name = "NAMESPACE")]
    pub routes_namespace: Option<String>,
    /// File with a Tenant's `spec`, as JSON or YAML: whoever registers without naming a tenant gets one of their own, made
    /// with it. When left out the gateway makes no tenants.
    #[arg(long, env = "KEYSTEAD_SIGN_UP_TEMPLATE", value_name = "FILE", conflicts_with = "routes")]
    pub sign_up_template: Option<PathBuf>,
    /// Tenants that may be there at once of those that were made by a sign-up.
    #[arg(long, env = "KEYSTEAD_SIGN_UP_MAX_TENANTS", default_value_t = 100, requires = "sign_up_template",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sign_up_max_tenants: u32,
    /// Seconds that a sign-up waits for its tenant before it is answered 202; 0: at once.
    #[arg(long, env = "KEYSTEAD_SIGN_UP_WAIT", default_value_t = 30, requires = "sign_up_template",
        value_parser = clap::value_parser!(u64).range(0..=120))]
    pub sign_up_wait: u64,
    /// Certificates of authorities, as PEM, that are trusted for issuers beside the public ones.
    #[arg(long, env = "KEYSTEAD_ISSUER_CA", value_name = "FILE")]
    pub issuer_ca: Option<PathBuf>,
    /// Seconds after which the keys of an issuer that are in use are fetched anew.
    #[arg(long, env = "KEYSTEAD_ISSUER_REFRESH", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub issuer_refresh: u64,
    /// Seconds after which a connection is closed on which no request is under way and nothing is written. Longer than
    /// what a balancer in front keeps connections, or it sends requests into closed ones.
    #[arg(long, env = "KEYSTEAD_IDLE_TIMEOUT", default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub idle_timeout: u64,
    /// Seconds after which the connections to a Redis are closed that nobody has asked for anything; up to twice as many.
    #[arg(long, env = "KEYSTEAD_REDIS_IDLE_TIMEOUT", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub redis_idle_timeout: u64,
    /// Seconds that a request waits for a tenant that was asleep before it is answered 503; 0: at once.
    #[arg(long, env = "KEYSTEAD_WAKE_WAIT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=120))]
    pub wake_wait: u64,
    /// Seconds that requests under way get when the process is asked to end.
    #[arg(long, env = "KEYSTEAD_SHUTDOWN_GRACE", default_value_t = 25, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub shutdown_grace: u64,
    /// Seconds between turning unready and refusing new connections, so that balancers notice.
    #[arg(long, env = "KEYSTEAD_DRAIN_DELAY", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub drain_delay: u64,
    /// What to log: `info`, `debug`, or a filter such as `keystead_gateway=debug,warn`.
    #[arg(long, env = "KEYSTEAD_LOG", default_value = "info")]
    pub log: String,
    #[arg(long, env = "KEYSTEAD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub tracing: TracingArguments,
}

impl Arguments {
    /// Failed log-ins that one address is allowed; 0: any number.
    pub fn failures_per_address(&self) -> u32 {
        self.failures_per_address.unwrap_or(if self.trusted_proxies.is_empty() { 0 } else { 100 })
    }

    /// Tenants that one address may ask for in an hour; 0: any number. Behind a proxy that is not known all clients have
    /// one address.
    pub fn sign_ups_per_address(&self) -> u32 {
        if self.trusted_proxies.is_empty() { 0 } else { 5 }
    }

    /// Where routes come from; the parser has made sure that it is one of the two.
    pub fn source(&self) -> Source {
        match (&self.routes, &self.routes_namespace) {
            (Some(folder), _) => Source::Folder(folder.clone()),
            (None, namespace) => Source::Secrets { namespace: namespace.clone().unwrap_or_default() },
        }
    }
}
