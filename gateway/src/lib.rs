//! The HTTP gateway: authenticate, route, limit, one Redis round trip, answer.
//!
//! The request path takes no lock that another tenant can hold, and knows no Kubernetes.

mod auth;
pub mod config;
mod finish;
mod http_text;
mod idempotency;
mod issuers;
mod merge_patch;
mod peers;
mod problem;
mod routes;
pub mod server;
mod slot;
pub mod telemetry;
mod tenants;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

pub use issuers::InvalidRoots;
pub use tenants::{Source, Table, follow};

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Unstartable {
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    #[error(transparent)]
    Issuers(#[from] InvalidRoots),
}

/// What every request sees.
#[derive(Debug)]
pub struct Gateway {
    pub table: Table,
    pub metrics: telemetry::Metrics,
    tokens: auth::TokenCache,
    key_rates: auth::KeyRates,
    addresses: auth::Addresses,
    passwords: auth::Passwords,
    pub peers: peers::Peers,
    access: telemetry::Sampler,
    begun: Instant,
    /// Set when the process is asked to end: readiness fails while requests are still answered.
    pub draining: AtomicBool,
}

impl Gateway {
    /// With the given number of threads that serve.
    pub fn new(arguments: &config::Arguments, threads: usize) -> Result<Arc<Self>, Unstartable> {
        let metrics = telemetry::Metrics::new(routes::paths())?;
        let refresh = Duration::from_secs(arguments.issuer_refresh);
        let issuers = issuers::Issuers::new(arguments.issuer_ca.as_deref(), refresh)?;
        Ok(Arc::new(Self {
            table: Table::new(metrics.operations.clone(), issuers, threads),
            metrics,
            tokens: auth::TokenCache::new(),
            key_rates: auth::KeyRates::new(),
            addresses: auth::Addresses::new(
                arguments.failures_per_address(),
                arguments.trusted_proxies.clone(),
            ),
            passwords: auth::Passwords::new(),
            peers: peers::Peers::default(),
            access: telemetry::Sampler::new(arguments.access_log),
            begun: Instant::now(),
            draining: AtomicBool::new(false),
        }))
    }
}

pub use routes::router;
