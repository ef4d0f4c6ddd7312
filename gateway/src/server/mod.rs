//! HTTP/1.1 and HTTP/2 on a listener, with a limit to idleness and a graceful end.

mod admin;
mod connections;
mod idle;
mod threads;

use std::{net::Ipv4Addr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::header, response::IntoResponse as _, routing::get};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
};

use self::{
    connections::{Connections, Open, Served},
    idle::{Counted, Watched},
};
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
    gauge: Option<IntGauge>,
}

/// Serves until `stop` is true; then finishes what is under way. Without threads of their own, connections are served by
/// the current runtime.
pub async fn serve(
    listener: TcpListener,
    app: impl Into<App>,
    threads: Option<Threads>,
    gauge: Option<IntGauge>,
    mut stop: watch::Receiver<bool>,
    limits: Limits,
) {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().max_buf_size(MAX_HEAD);
    http.http2().max_header_list_size(64 * 1024);
    let serving = Arc::new(Serving { http, app: app.into(), gauge });
    let connections = Connections::default();
    let mut look_after = pin!(connections.close_idle(limits.idle));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            never = &mut look_after => match never {},
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
        let (serving, open) = (serving.clone(), connections.open());
        runtime.spawn(async move {
            serving.connection(stream, open).await;
            drop(place);
        });
    }
    drop(listener);
    tokio::select! {
        () = connections.finish() => {}
        never = look_after => match never {},
        () = tokio::time::sleep(limits.grace) => tracing::warn!("requests were still under way after the grace"),
    }
}

impl Serving {
    async fn connection(&self, stream: std::net::TcpStream, open: Open) {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be served");
                return;
            }
        };
        // A small answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        // A socket that is closed already has none; its request will not be answered anyway.
        let peer = stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
        let service = Counted { app: self.app.clone(), activity: open.activity.clone(), peer };
        let stream = Watched { stream, activity: open.activity.clone() };
        let connection = self.http.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Some(gauge) = &self.gauge {
            gauge.inc();
        }
        match Served::new(connection, open).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "a connection ended"),
            None => tracing::debug!("an idle connection is closed"),
        }
        if let Some(gauge) = &self.gauge {
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
