//! The gateway's process: flags, logs, routes, servers, shutdown.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser as _;
use keystead_gateway::{
    Gateway, api,
    config::Arguments,
    follow, server,
    sign_up::{self, SignUps},
    sleep, telemetry,
};
use keystead_telemetry::Traces;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Requests allocate much that is small and short-lived, on all threads: a quarter less CPU for them in user space than
/// with the system's allocator (docs/measurements.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// For what of audit logs, and of who was used, is not written when the process ends.
const LAST_GRACE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let traces = Traces::begin("keystead-gateway", &arguments.tracing).map_err(|error| error.to_string());
    let logs = traces.and_then(|traces| {
        let logs = telemetry::Logs::init(&arguments.log, arguments.log_format, traces.as_ref())?;
        Ok((traces, Arc::new(logs)))
    });
    let (traces, logs) = match logs {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    // For what is not a client's request; those have threads of their own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(arguments, logs));
    traces.inspect(Traces::end);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments, logs: Arc<telemetry::Logs>) -> Result<(), String> {
    raise_open_files();
    let threads = arguments.threads.map_or_else(server::Threads::default_count, usize::from);
    let sign_ups = SignUps::start(&arguments).map_err(|error| error.to_string())?;
    let makes_tenants = sign_ups.is_some();
    let gateway = Gateway::new(&arguments, threads, sign_ups).map_err(|error| error.to_string())?;
    let bind = async |address| {
        TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    let listener = bind(arguments.listen).await?;
    let metrics_listener = bind(arguments.metrics_listen).await?;
    let admin_listener = bind(arguments.admin_listen).await?;
    let (stop, stopped) = watch::channel(false);
    let idle = Duration::from_secs(arguments.idle_timeout);
    let metrics = tokio::spawn(server::serve(
        metrics_listener,
        server::metrics_router(gateway.clone()),
        None,
        None,
        stopped.clone(),
        server::Limits { idle, grace: Duration::from_secs(1) },
    ));
    let admin = tokio::spawn(server::serve(
        admin_listener,
        server::admin_router(logs),
        None,
        None,
        stopped.clone(),
        server::Limits { idle, grace: Duration::from_secs(1) },
    ));
    if let Some(name) = arguments.peers.clone() {
        let gateway = gateway.clone();
        tokio::spawn(async move { gateway.peers.follow(&name, &gateway.metrics.peers).await });
    }
    if let Some(namespace) = arguments.routes_namespace.clone().filter(|_| makes_tenants) {
        tokio::spawn(sign_up::follow(namespace, gateway.clone()));
    }
    tokio::spawn(sleep::note(gateway.clone()));
    let idle_redis = Duration::from_secs(arguments.redis_idle_timeout);
    let of_idle_redis = gateway.clone();
    tokio::spawn(async move { of_idle_redis.table.close_idle(idle_redis).await });
    let routes = tokio::spawn(follow(arguments.source(), gateway.clone()));
    let grace = Duration::from_secs(arguments.shutdown_grace);
    let api = tokio::spawn(server::serve(
        listener,
        api(gateway.clone()),
        Some(server::Threads::start(threads).map_err(|error| format!("cannot start the threads: {error}"))?),
        Some(gateway.metrics.active_connections.clone()),
        stopped,
        server::Limits { idle, grace },
    ));
    tracing::info!(listen = %arguments.listen, metrics = %arguments.metrics_listen, "serving");

    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = routes => return Err(format!("the routes cannot be followed any more: {ended:?}")),
    }
    gateway.drain();
    tracing::info!("draining");
    // Still accepting: whoever watches readiness learns first that no more should come.
    tokio::time::sleep(Duration::from_secs(arguments.drain_delay).min(grace)).await;
    let _ = stop.send(true);
    let _ = api.await;
    tokio::join!(gateway.table.end_audits(LAST_GRACE), sleep::note_last(&gateway, LAST_GRACE));
    let _ = metrics.await;
    let _ = admin.await;
    tracing::info!("stopped");
    Ok(())
}

/// Each connection is an open file, and the soft limit of many systems is 1024: it is lifted to what is allowed.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
