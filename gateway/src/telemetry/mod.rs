//! Logs and metrics. No label has more values than there are routes, statuses or tenants.

mod access;
mod logs;
mod operations;
mod requests;
mod span;

use prometheus::{Encoder as _, IntGauge, Registry, TextEncoder};

use self::requests::Requests;
pub use access::{AccessLog, InvalidAccessLog};
pub(crate) use access::{Failures, Sampler};
pub use logs::{LogLevels, Logs};
pub(crate) use operations::{Counters, OperationKind, Operations};
pub(crate) use span::RequestSpan;

/// The gateway's figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) requests: Requests,
    pub(crate) operations: Counters,
    /// Open client connections.
    pub active_connections: IntGauge,
    pub(crate) tenants: IntGauge,
    pub(crate) asleep: IntGauge,
    pub peers: IntGauge,
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
        let peers =
            IntGauge::new("kv_peers_count", "Gateways behind the name of their Service, this one too")?;
        let asleep =
            IntGauge::new("keystead_gateway_tenants_asleep", "Tenants in the route table that sleep")?;
        registry.register(Box::new(tenants.clone()))?;
        registry.register(Box::new(asleep.clone()))?;
        registry.register(Box::new(peers.clone()))?;
        Ok(Self { registry, requests, operations, active_connections, tenants, asleep, peers })
    }

    /// Prometheus' text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
