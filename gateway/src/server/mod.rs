//! HTTP/1.1 and HTTP/2 on a listener, with a limit to idleness and a graceful end.

mod admin;
mod idle;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::header, response::IntoResponse as _, routing::get};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use prometheus::IntGauge;
use tokio::{net::TcpListener, sync::watch};

use self::idle::{Activity, Counted, Watched};
use crate::Gateway;

pub use admin::admin_router;

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A connection without a request under way.
    pub idle: Duration,
    /// What is under way when the server stops.
    pub grace: Duration,
}

/// Serves until `stop` is true; then finishes what is under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Option<IntGauge>,
    mut stop: watch::Receiver<bool>,
    limits: Limits,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().max_buf_size(MAX_HEAD);
    server.http2().max_header_list_size(64 * 1024);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No file descriptors left, or the client is gone already: the next may work.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        let service = Counted { router: router.clone(), activity: activity.clone() };
        let stream = Watched { stream, activity: activity.clone() };
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        let gauge = connections.clone();
        tokio::spawn(async move {
            if let Some(gauge) = &gauge {
                gauge.inc();
            }
            tokio::select! {
                biased;
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                },
                () = activity.ends(limits.idle) => tracing::debug!("an idle connection is closed"),
            }
            if let Some(gauge) = &gauge {
                gauge.dec();
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after the grace");
    }
}

/// `/metrics`, on a port of its own.
pub fn metrics_router(gateway: Arc<Gateway>) -> Router {
    let metrics = async |State(gateway): State<Arc<Gateway>>| match gateway.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    };
    Router::new().route("/metrics", get(metrics)).with_state(gateway)
}
