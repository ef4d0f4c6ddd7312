//! The command line. Every flag can be given by an environment variable as well.

use std::{net::SocketAddr, time::Duration};

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
    /// Seconds for which a password of Redis is still valid after another took its place. Everybody who uses it must have
    /// moved by then: the kubelet may take two minutes to hand a changed Secret to the pods.
    #[arg(long, env = "KEYSTEAD_PASSWORD_OVERLAP", value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    pub password_overlap: u64,
    /// Seconds between two looks at what a tenant uses; at most 10 where its workers are scaled by it.
    #[arg(long, env = "KEYSTEAD_USAGE_INTERVAL", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=3600))]
    pub usage_interval: u64,
    /// Autoscalers of workers go by the external metric `keystead_queue_depth` too, which an adapter serves from Prometheus.
    #[arg(long, env = "KEYSTEAD_QUEUE_METRIC")]
    pub queue_metric: bool,
    /// Tenants of which the Redis is restarted at the same time, because of a change; others wait for their turn. After an upgrade of
    /// the operator that may be all of them.
    #[arg(long, env = "KEYSTEAD_MAX_CONCURRENT_ROLLOUTS", value_name = "TENANTS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_concurrent_rollouts: u16,
    /// Address at which this operator serves that metric itself, over TLS, to the API server: 0.0.0.0:8443. Not at all when left out.
    #[arg(long, env = "KEYSTEAD_EXTERNAL_METRICS_LISTEN", value_name = "ADDRESS")]
    pub external_metrics_listen: Option<SocketAddr>,
    /// The Service by which the API server reaches that address.
    #[arg(
        long,
        env = "KEYSTEAD_EXTERNAL_METRICS_SERVICE",
        value_name = "NAME",
        default_value = "keystead-operator-external-metrics"
    )]
    pub external_metrics_service: String,
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
            password_overlap: Duration::from_secs(self.password_overlap),
            usage_interval: Duration::from_secs(self.usage_interval),
            max_concurrent_rollouts: self.max_concurrent_rollouts.into(),
            queue_metric: self.queue_metric || self.external_metrics_listen.is_some(),
        }
        .checked()
    }
}
