//! Logs and metrics. No label has more values than there are routes, statuses or tenants.

use clap::ValueEnum;
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use tracing_subscriber::EnvFilter;

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// Begins logging to standard error.
pub fn init_logs(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log {filter:?}: {error}"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Text => logs.init(),
    }
    Ok(())
}

/// The gateway's figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) requests: IntCounterVec,
    pub(crate) duration: HistogramVec,
    pub(crate) operations: IntCounterVec,
    /// Open client connections.
    pub active_connections: IntGauge,
    pub(crate) tenants: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("http_requests_total", "Requests by method, route and status"),
            &["method", "endpoint", "status"],
        )?;
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
        let duration = HistogramVec::new(
            HistogramOpts::new("http_request_duration_seconds", "Time to answer, by method and route")
                .buckets(buckets),
            &["method", "endpoint"],
        )?;
        let operations = IntCounterVec::new(
            Opts::new("kvstore_operations_total", "Operations on tenants' stores"),
            &["operation", "tenant", "status"],
        )?;
        let active_connections = IntGauge::new("active_connections", "Open client connections")?;
        let tenants = IntGauge::new("keystead_gateway_tenants", "Tenants in the route table")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(operations.clone()))?;
        registry.register(Box::new(active_connections.clone()))?;
        registry.register(Box::new(tenants.clone()))?;
        Ok(Self { registry, requests, duration, operations, active_connections, tenants })
    }

    /// Prometheus' text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
