//! The worker's process: flags, logs, health, the loops around one tenant's queue, shutdown.

mod backend;
mod config;
mod health;
mod kinds;
mod periodic;
mod run;

use std::{
    fs,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser as _;
use keystead_kv::{
    ConnectOptions, Connection, Store,
    queue::{Claims, Queue},
};
use keystead_route::Endpoint;
use keystead_telemetry::Traces;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{config::Arguments, health::Health, run::Shared};

/// A worker that does not renew for this long has lost its jobs.
const LEASE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let traces = match Traces::begin("keystead-worker", &arguments.tracing) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = keystead_telemetry::init(&arguments.log, arguments.log_format, traces.as_ref()) {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(arguments));
    traces.inspect(Traces::end);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let keyring = arguments.keyring()?;
    let queue = Queue::new(connect(&arguments)?).with_keyring(keyring.clone());
    let store = Store::new(connect(&arguments)?).with_keyring(keyring);
    let worker = format!("{}-{}", arguments.tenant, uuid::Uuid::now_v7().simple());
    let claims = Claims::new(&queue, worker.clone(), LEASE);
    let health = Health::new().map_err(|error| error.to_string())?;
    let keys_settled = Instant::now() + Duration::from_secs(arguments.encryption_change_over);
    let context =
        kinds::Context { store: store.clone(), max_result_bytes: arguments.max_result_bytes, keys_settled };
    let shared = Arc::new(Shared::new(context, claims, health.clone()));

    let listener = TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    tokio::spawn(health::serve(listener, health, queue.clone()));
    let sweep_every = Duration::from_secs(arguments.sweep_every);
    tokio::spawn(periodic::sweeps(queue.clone(), sweep_every));
    tokio::spawn(periodic::reencryption(queue.clone(), store, keys_settled));
    tokio::spawn(periodic::schedules(queue.clone(), arguments.schedules.0.clone()));

    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        let _ = stop.send(true);
    });
    tracing::info!(tenant = %arguments.tenant, worker, listen = %arguments.listen, "working");
    let grace = Duration::from_secs(arguments.shutdown_grace);
    run::work(queue, shared, arguments.concurrency, stopped, grace).await?;
    tracing::info!("stopped");
    Ok(())
}

fn connect(arguments: &Arguments) -> Result<Connection, String> {
    let password = match &arguments.redis_password_file {
        None => None,
        Some(file) => {
            let text = fs::read_to_string(file)
                .map_err(|error| format!("--redis-password-file {}: {error}", file.display()))?;
            Some(text.trim_end_matches('\n').into())
        }
    };
    let endpoint = Endpoint::Standalone { address: arguments.redis_address.clone() };
    let mut options = ConnectOptions::new(endpoint, arguments.redis_username.clone(), password);
    // Nobody waits at the other end: better slow than a second time.
    options.response_timeout = Duration::from_secs(10);
    Connection::open(options).map_err(|error| error.to_string())
}
