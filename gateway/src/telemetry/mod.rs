//! Logs and metrics. No label has more values than there are routes, statuses or tenants.

mod operations;
mod requests;

use clap::ValueEnum;
use prometheus::{Encoder as _, IntGauge, Registry, TextEncoder};
use tracing_subscriber::EnvFilter;

use self::requests::Requests;
pub(crate) use operations::{Counters, OperationKind, Operations};

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
    pub(crate) requests: Requests,
    pub(crate) operations: Counters,
    /// Open client connections.
    pub active_connections: IntGauge,
    pub(crate) tenants: IntGauge,
}

impl Metrics {
    /// For requests to these routes.
    pub(crate) fn new(paths: impl IntoIterator<Item = String>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = Requests::new(&registry, paths)?;
        let operations = Counters::new(&registry)?;
        let active_connections = IntGauge::new("active_connections", "Open client connections")?;
        let tenants = IntGauge::new("keystead_gateway_tenants", "Tenants in the route table")?;
        registry.register(Box::new(active_connections.clone()))?;
        registry.register(Box::new(tenants.clone()))?;
        Ok(Self { registry, requests, operations, active_connections, tenants })
    }

    /// Prometheus' text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
