//! The command line. Every flag can be given by an environment variable as well.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

use crate::settings::{EgressRules, ImageTable, Settings, Tracing, UnknownDefaultVersion};

/// Reconciles Tenants: gives each a Redis of its own, credentials, policies and a worker, and tells the gateway.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// The namespace in which the gateway runs and reads its routes.
    #[arg(long, env = "KEYSTEAD_GATEWAY_NAMESPACE", default_value = "keystead-system")]
    pub gateway_namespace: String,
    /// The operator's own namespace, for the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "keystead-system")]
    pub namespace: String,
    /// Who this process is in the Lease; another for each process.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// The image that holds /usr/local/bin/keystead-worker.
    #[arg(long, env = "KEYSTEAD_WORKER_IMAGE")]
    pub worker_image: String,
    /// The images that versions of Redis stand for: 7.0=docker.io/library/redis:7.0,8.0=…
    #[arg(long, env = "KEYSTEAD_REDIS_IMAGES")]
    pub redis_images: ImageTable,
    /// The version of a tenant that names none.
    #[arg(long, env = "KEYSTEAD_DEFAULT_REDIS_VERSION")]
    pub default_redis_version: String,
    /// Collector that takes the workers' traces by OTLP over HTTP, such as <http://collector:4318>; no traces when left out.
    #[arg(long, env = "KEYSTEAD_WORKER_OTLP_ENDPOINT", value_name = "URL")]
    pub worker_otlp_endpoint: Option<String>,
    /// Share of the workers' jobs that are traced though nobody before them has begun a trace: 0 to 1.
    #[arg(long, env = "KEYSTEAD_WORKER_TRACE_SHARE", value_name = "SHARE", default_value_t = 0.01)]
    pub worker_trace_share: f64,
    /// What the workers' NetworkPolicies allow for that: egress rules as in a NetworkPolicy, as a JSON list.
    #[arg(long, env = "KEYSTEAD_WORKER_OTLP_EGRESS", value_name = "JSON", default_value = "[]")]
    pub worker_otlp_egress: EgressRules,
    /// Address of health and metrics.
    #[arg(long, env = "KEYSTEAD_LISTEN", default_value = "0.0.0.0:8081")]
    pub listen: SocketAddr,
    /// What is logged, such as info or `keystead_operator=debug,kube=warn`.
    #[arg(long, env = "KEYSTEAD_LOG", default_value = "info")]
    pub log: String,
    #[arg(long, env = "KEYSTEAD_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

impl Args {
    /// What holds for all tenants.
    pub fn settings(&self) -> Result<Settings, UnknownDefaultVersion> {
        Settings {
            gateway_namespace: self.gateway_namespace.clone(),
            worker_image: self.worker_image.clone(),
            redis_images: self.redis_images.clone(),
            default_redis_version: self.default_redis_version.clone(),
            tracing: self.worker_otlp_endpoint.clone().filter(|endpoint| !endpoint.is_empty()).map(
                |endpoint| Tracing {
                    endpoint,
                    share: self.worker_trace_share,
                    egress: self.worker_otlp_egress.clone(),
                },
            ),
        }
        .checked()
    }
}
