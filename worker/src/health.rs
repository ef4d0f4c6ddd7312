//! Health and metrics of the worker. Ready: its queue answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use keystead_kv::queue::{Queue, kinds::KINDS};
use prometheus::{Encoder as _, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;

#[derive(Clone, Debug)]
pub(crate) struct Health {
    ready: Arc<AtomicBool>,
    registry: Registry,
    tasks: IntCounterVec,
    jobs: IntGaugeVec,
}

impl Health {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let tasks = IntCounterVec::new(
            Opts::new("background_tasks_total", "Attempts at jobs by their end"),
            &["task", "status"],
        )?;
        let jobs = IntGaugeVec::new(Opts::new("keystead_jobs", "Jobs in the queue by status"), &["status"])?;
        registry.register(Box::new(tasks.clone()))?;
        registry.register(Box::new(jobs.clone()))?;
        Ok(Self { ready: Arc::default(), registry, tasks, jobs })
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

pub(crate) async fn serve(listener: TcpListener, health: Health, queue: Queue) {
    let router = Router::new()
        .route("/health/live", get(async || "alive"))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state((health, queue));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "health is not served any more");
    }
}

async fn ready(State((health, _)): State<(Health, Queue)>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the tenant's Redis does not answer")
    }
}

async fn metrics(State((health, queue)): State<(Health, Queue)>) -> (StatusCode, Vec<u8>) {
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
