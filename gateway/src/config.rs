//! The gateway's flags; each can come from the environment.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

use crate::{telemetry::LogFormat, tenants::Source};

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
    /// Folder with a route in `<tenant>.json` for each tenant; changes are followed.
    #[arg(long, env = "KEYSTEAD_ROUTES", value_name = "DIR")]
    pub routes: Option<PathBuf>,
    /// Namespace whose Secrets with the label keystead.io/route=true are the routes.
    #[arg(long, env = "KEYSTEAD_ROUTES_NAMESPACE", value_name = "NAMESPACE")]
    pub routes_namespace: Option<String>,
    /// Seconds after which a connection is closed on which no request is under way and nothing is written. Longer than
    /// what a balancer in front keeps connections, or it sends requests into closed ones.
    #[arg(long, env = "KEYSTEAD_IDLE_TIMEOUT", default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub idle_timeout: u64,
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
}

impl Arguments {
    /// Where routes come from; the parser has made sure that it is one of the two.
    pub fn source(&self) -> Source {
        match (&self.routes, &self.routes_namespace) {
            (Some(folder), _) => Source::Folder(folder.clone()),
            (None, namespace) => Source::Secrets { namespace: namespace.clone().unwrap_or_default() },
        }
    }
}
