//! The HTTP gateway: authenticate, route, limit, one Redis round trip, answer.
//!
//! The request path takes no lock that another tenant can hold, and knows no Kubernetes: what needs it is a task beside it.

mod audit;
mod auth;
pub mod config;
mod finish;
mod http_text;
mod idempotency;
mod issuers;
mod kubernetes;
mod merge_patch;
mod peers;
mod problem;
mod query;
mod routes;
pub mod server;
pub mod sign_up;
pub mod sleep;
mod slot;
pub mod telemetry;
mod tenants;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    /// None: this installation makes no tenants.
    sign_ups: Option<sign_up::SignUps>,
    sleepers: sleep::Sleepers,
    pub peers: peers::Peers,
    access: telemetry::Sampler,
    is_traced: bool,
    begun: Instant,
    /// Set when the process is asked to end: readiness fails while requests are still answered.
    pub(crate) draining: AtomicBool,
}

impl Gateway {
    /// With the given number of threads that serve; what is done beside the requests runs on this runtime.
    pub fn new(
        arguments: &config::Arguments,
        threads: usize,
        sign_ups: Option<sign_up::SignUps>,
    ) -> Result<Arc<Self>, Unstartable> {
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
                arguments.sign_ups_per_address(),
                arguments.trusted_proxies.clone(),
            ),
            passwords: auth::Passwords::new(),
            sign_ups,
            sleepers: sleep::Sleepers::start(arguments),
            peers: peers::Peers::default(),
            access: telemetry::Sampler::new(arguments.access_log),
            is_traced: arguments.tracing.is_on(),
            begun: Instant::now(),
            draining: AtomicBool::new(false),
        }))
    }

    /// The tenant as it is once it does not sleep any more: at once where it does not sleep.
    pub(crate) async fn awake(
        &self,
        tenant: Arc<tenants::Tenant>,
        proof: sleep::Proof,
    ) -> Result<Arc<tenants::Tenant>, problem::Problem> {
        self.sleepers.awake(self, tenant, proof).await
    }

    /// The process is asked to end: it turns unready, and nobody is kept waiting for a tenant.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        if let Some(sign_ups) = &self.sign_ups {
            sign_ups.end();
        }
    }
}

pub use routes::{App, api};
