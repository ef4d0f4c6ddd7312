//! The worker's process: flags, logs, health, the loops around one tenant's queue, shutdown.

mod attempt;
mod backend;
mod config;
mod ends;
mod health;
mod kinds;
mod loki;
mod outside;
mod periodic;
mod run;
mod used;
mod webhook;

use std::{
    fs,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser as _;
use keystead_kv::{
    ConnectOptions, Connection, Store,
    activity::Activity,
    audit::AuditLog,
    queue::{
        Claims, Queue,
        kinds::{TTL_SWEEP, USAGE_SNAPSHOT},
    },
};
use keystead_route::Endpoint;
use keystead_telemetry::Traces;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{config::Arguments, health::Health, loki::Loki, run::Shared, used::Used, webhook::Sender};

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
    let limits = arguments.limits.0.clone();
    let connection = connect(&arguments)?;
    let store = Store::new(connection.clone())
        .with_keyring(keyring)
        .with_max_keys(limits.max_keys.unwrap_or_default());
    let worker = format!("{}-{}", arguments.tenant, uuid::Uuid::now_v7().simple());
    let claims = Claims::new(&queue, worker.clone(), LEASE);
    let health = Health::new().map_err(|error| error.to_string())?;
    let keys_settled = Instant::now() + Duration::from_secs(arguments.encryption_change_over);
    let audit = AuditLog::new(connect(&arguments)?);
    let loki = Loki::new(&arguments.loki, &arguments.tenant)?;
    let sends_audit = loki.is_some();
    let context = kinds::Context {
        connection,
        store: store.clone(),
        queue: queue.clone(),
        audit: audit.clone(),
        loki,
        webhooks: Sender::new(&arguments.webhooks)?,
        limits,
        keys_settled,
    };
    let activity = arguments.may_sleep.then(|| Activity::new(context.connection.clone()));
    let shared =
        Shared::new(context, claims, health.clone(), arguments.max_result_bytes, Used::new(activity));
    let shared = Arc::new(shared);

    let listener = TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    tokio::spawn(health::serve(listener, health, queue.clone(), audit.clone()));
    let sweep_every = Duration::from_secs(arguments.sweep_every);
    tokio::spawn(periodic::each(TTL_SWEEP, queue.clone(), sweep_every));
    let usage_every = Duration::from_secs(arguments.usage_every);
    tokio::spawn(periodic::each(USAGE_SNAPSHOT, queue.clone(), usage_every));
    if sends_audit {
        let every = Duration::from_secs(arguments.audit_flush_every);
        tokio::spawn(periodic::audit(queue.clone(), audit, every));
    }
    tokio::spawn(periodic::reencryption(queue.clone(), store, keys_settled));
    tokio::spawn(periodic::own_schedules(queue.clone()));
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
    let endpoint = arguments.redis.endpoint();
    // Nobody waits at the other end: better slow than a second time. Where there are several Redis, one that hangs is not
    // the last word.
    let (answer_within, hold) = match endpoint {
        Endpoint::Standalone { .. } => (10, 0),
        Endpoint::Replicated { .. } | Endpoint::Cluster { .. } => (2, 10),
    };
    let mut options = ConnectOptions::new(endpoint, arguments.redis_username.clone(), password);
    options.tls = arguments.tls()?;
    options.response_timeout = Duration::from_secs(answer_within);
    options.write_timeout = Duration::from_secs(10);
    options.hold = Duration::from_secs(hold);
    options.durability = arguments.redis.durability;
    Connection::open(options).map_err(|error| error.to_string())
}
