//! Health and metrics of the worker. Ready: its queue answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use keystead_kv::{
    audit::AuditLog,
    queue::{Queue, kinds::KINDS},
};
use prometheus::{Encoder as _, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;

#[derive(Clone, Debug)]
pub(crate) struct Health {
    ready: Arc<AtomicBool>,
    registry: Registry,
    tasks: IntCounterVec,
    jobs: IntGaugeVec,
    audit_unsent: IntGauge,
    audit_dropped: IntGauge,
}

/// What is asked for figures.
#[derive(Clone)]
struct Observed {
    health: Health,
    queue: Queue,
    audit: AuditLog,
}

impl Health {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let tasks = IntCounterVec::new(
            Opts::new("background_tasks_total", "Attempts at jobs by their end"),
            &["task", "status"],
        )?;
        let jobs = IntGaugeVec::new(Opts::new("keystead_jobs", "Jobs in the queue by status"), &["status"])?;
        let audit_unsent =
            IntGauge::new("keystead_audit_unsent", "Entries of the audit log that were not sent")?;
        let audit_dropped = IntGauge::new(
            "keystead_audit_dropped",
            "Entries of the audit log that are lost without having been sent",
        )?;
        registry.register(Box::new(audit_unsent.clone()))?;
        registry.register(Box::new(audit_dropped.clone()))?;
        registry.register(Box::new(tasks.clone()))?;
        registry.register(Box::new(jobs.clone()))?;
        Ok(Self { ready: Arc::default(), registry, tasks, jobs, audit_unsent, audit_dropped })
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        if self.ready.swap(ready, Ordering::Relaxed) != ready {
            tracing::info!(ready, "readiness has changed");
        }
    }

    pub(crate) fn count(&self, kind: &str, status: &str) {
        // A kind that we do not know is the queue's text: it must not become a label.
        let kind = KINDS.iter().find(|known| **known == kind).unwrap_or(&"unknown");
        self.tasks.with_label_values(&[*kind, status]).inc();
    }
}

pub(crate) async fn serve(listener: TcpListener, health: Health, queue: Queue, audit: AuditLog) {
    let router = Router::new()
        .route("/health/live", get(async || "alive"))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Observed { health, queue, audit });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "health is not served any more");
    }
}

async fn ready(State(Observed { health, .. }): State<Observed>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the tenant's Redis does not answer")
    }
}

async fn metrics(State(Observed { health, queue, audit }): State<Observed>) -> (StatusCode, Vec<u8>) {
    if let Ok(backlog) = audit.backlog().await {
        health.audit_unsent.set(i64::try_from(backlog.unsent).unwrap_or(i64::MAX));
        health.audit_dropped.set(i64::try_from(backlog.dropped).unwrap_or(i64::MAX));
    }
    if let Ok(counts) = queue.counts().await {
        for (status, count) in counts {
            health.jobs.with_label_values(&[status.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    let mut text = Vec::new();
    match TextEncoder::new().encode(&health.registry.gather(), &mut text) {
        Ok(()) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    }
}
