//! HTTP/1.1 and HTTP/2 on a listener, with a limit to idleness and a graceful end.

mod admin;
mod idle;
mod threads;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::header, response::IntoResponse as _, routing::get};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
};

use self::idle::{Activity, Counted, Watched};
use crate::{Gateway, routes::App};

pub use admin::admin_router;
pub use threads::Threads;

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

/// What serves connections.
#[derive(Clone, Debug)]
struct Serving {
    http: auto::Builder<TokioExecutor>,
    app: App,
    connections: Option<IntGauge>,
    idle: Duration,
}

/// Serves until `stop` is true; then finishes what is under way. Without threads of their own, connections are served by
/// the current runtime.
pub async fn serve(
    listener: TcpListener,
    app: impl Into<App>,
    threads: Option<Threads>,
    connections: Option<IntGauge>,
    mut stop: watch::Receiver<bool>,
    limits: Limits,
) {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().max_buf_size(MAX_HEAD);
    http.http2().max_header_list_size(64 * 1024);
    let serving = Arc::new(Serving { http, app: app.into(), connections, idle: limits.idle });
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        // Taken from this runtime, so that a thread can take it to its own.
        let stream = match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => stream,
            Err(error) => {
                // No file descriptors left, or the client is gone already: the next may work.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (runtime, place) = match &threads {
            Some(threads) => {
                let (runtime, place) = threads.place();
                (runtime, Some(place))
            }
            None => (Handle::current(), None),
        };
        let (serving, watcher) = (serving.clone(), graceful.watcher());
        runtime.spawn(async move {
            serving.connection(stream, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after the grace");
    }
}

impl Serving {
    async fn connection(&self, stream: std::net::TcpStream, watcher: Watcher) {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be served");
                return;
            }
        };
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        // A socket that is closed already has none; its request will not be answered anyway.
        let peer = stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
        let service = Counted { app: self.app.clone(), activity: activity.clone(), peer };
        let stream = Watched { stream, activity: activity.clone() };
        let connection =
            watcher.watch(self.http.serve_connection(TokioIo::new(stream), service).into_owned());
        if let Some(gauge) = &self.connections {
            gauge.inc();
        }
        tokio::select! {
            biased;
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            },
            () = activity.ends(self.idle) => tracing::debug!("an idle connection is closed"),
        }
        if let Some(gauge) = &self.connections {
            gauge.dec();
        }
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
