//! HTTP/1.1 and HTTP/2 on a listener, with time-outs and a graceful end.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::header, response::IntoResponse as _, routing::get};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use prometheus::IntGauge;
use tokio::{net::TcpListener, sync::watch};

use crate::Gateway;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Serves until `stop` is true; then finishes what is under way, `grace` at most.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Option<IntGauge>,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
    server.http2().timer(TokioTimer::new()).max_header_list_size(64 * 1024);
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
        let service = TowerToHyperService::new(router.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        let gauge = connections.clone();
        tokio::spawn(async move {
            if let Some(gauge) = &gauge {
                gauge.inc();
            }
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            if let Some(gauge) = &gauge {
                gauge.dec();
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
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
