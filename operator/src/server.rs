//! Health and metrics over HTTP. Nothing else is served here, and nothing of a tenant.

use std::net::SocketAddr;

use axum::{Router, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// What the probes are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The API server has not been reached yet, or not everything has been seen.
    Starting,
    /// Another leads; this one takes over at any moment.
    Standby,
    Leading,
}

/// Binds the address, so that a port in use is said at the start.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: watch::Receiver<Health>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/health/live", get(async || "alive\n"))
        .route(
            "/health/ready",
            get(async move || match *health.borrow() {
                Health::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
                Health::Standby => (StatusCode::OK, "standby\n"),
                Health::Leading => (StatusCode::OK, "leading\n"),
            }),
        )
        .route("/metrics", get(async move || metrics.text()));
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
