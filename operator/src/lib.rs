//! The operator: turns Tenants into namespaces with a Redis, credentials, policies and a worker, and tells the gateway
//! of them. Knows `keystead-crds` and the route format; never speaks a tenant's data.

pub mod cache;
pub mod cli;
pub mod context;
pub mod controller;
pub mod error;
pub mod external;
#[cfg(test)]
mod fixtures;
pub mod kinds;
pub mod lease;
pub mod metrics;
pub mod server;
pub mod settings;
pub mod tenant;
pub mod usage;

use std::{io, sync::Arc};

use keystead_crds::Tenant;
use kube::{Api, Client, api::ListParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use cli::Args;
use context::Context;
use lease::Lease;
use metrics::Metrics;
use server::Health;

/// Name of the Lease.
pub const LEASE: &str = "keystead-operator";

/// Why the operator ended. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error(transparent)]
    Settings(#[from] settings::UnknownDefaultVersion),
    #[error("no way to the API server: {0}. Run in a pod with a ServiceAccount, or set KUBECONFIG")]
    NoCluster(Box<kube::Error>),
    #[error(
        "the cluster does not know Tenants: install the definition with `kubectl apply --server-side -f crds/yaml/tenants.yaml`, or the chart with `helm upgrade --install keystead charts/keystead`"
    )]
    NotInstalled,
    #[error("Tenants cannot be listed: {0}. Check the ClusterRole of the operator's ServiceAccount")]
    NotAllowed(Box<kube::Error>),
    #[error("{address} cannot be listened on: {source}. Choose another with {flag}")]
    Listen { flag: &'static str, address: std::net::SocketAddr, source: io::Error },
    #[error("the lease was lost: another operator leads now")]
    LeaseLost,
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Fatal {
    /// 2 for what the caller has to change, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => 2,
            _ => 1,
        }
    }
}

/// Runs the operator until `shutdown`.
pub async fn run(args: &Args, shutdown: CancellationToken) -> Result<(), Fatal> {
    let settings = args.settings()?;
    let metrics = Metrics::new()?;
    let listener = server::listen(args.listen).await.map_err(|source| Fatal::Listen {
        flag: "--listen",
        address: args.listen,
        source,
    })?;
    let (health, answered) = watch::channel(Health::Starting);
    let server = tokio::spawn(server::serve(listener, metrics.clone(), answered, CancellationToken::new()));
    let outcome = lead(args, settings, metrics, &health, shutdown).await;
    server.abort();
    outcome
}

async fn lead(
    args: &Args,
    settings: settings::Settings,
    metrics: Metrics,
    health: &watch::Sender<Health>,
    shutdown: CancellationToken,
) -> Result<(), Fatal> {
    let client = Client::try_default().await.map_err(|error| Fatal::NoCluster(Box::new(error)))?;
    check_installed(&client).await?;
    health.send_replace(Health::Standby);

    let installation = external::Installation {
        namespace: args.namespace.clone(),
        pod: args.pod_name.clone(),
        service: args.external_metrics_service.clone(),
    };
    let serves = args.external_metrics_listen;
    // A process before this one in the same pod may have led.
    if serves.is_some()
        && let Err(error) = installation.mark(&client, false).await
    {
        tracing::warn!(%error, "external metrics may be asked of an operator that does not lead");
    }

    let lease = Lease::new(client.clone(), &args.namespace, LEASE, &args.pod_name);
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = lease.acquire() => {}
    }
    tracing::info!(identity = args.pod_name, "this operator leads");
    metrics.leads(true);
    health.send_replace(Health::Starting);

    let (is_ready, mut seen) = watch::channel(false);
    let context = Arc::new(Context::new(client.clone(), settings, metrics.clone(), &args.pod_name));
    let external = match serves {
        None => None,
        Some(address) => {
            let listener = external::listen(address).await.map_err(|source| Fatal::Listen {
                flag: "--external-metrics-listen",
                address,
                source,
            })?;
            let readings = context.readings.clone();
            Some(tokio::spawn(external::run(listener, client, installation, readings)))
        }
    };
    let mut controller = tokio::spawn(controller::run(context, shutdown.clone(), is_ready));
    // One for all rounds: it knows when it renewed last.
    let mut kept = Box::pin(lease.keep());
    let outcome = loop {
        tokio::select! {
            // Everything that was begun has come to its end.
            _ = &mut controller => break Ok(()),
            // Another may act from now on: what was begun is broken off, it can be done twice.
            () = &mut kept => {
                controller.abort();
                break Err(Fatal::LeaseLost);
            }
            Ok(()) = seen.changed() => {
                health.send_replace(Health::Leading);
            }
        }
    };
    metrics.leads(false);
    if let Some(external) = external {
        external.abort();
    }
    if outcome.is_ok()
        && let Err(error) = lease.release().await
    {
        tracing::warn!(%error, "the lease cannot be given back: the next leader waits until it runs out");
    }
    outcome
}

async fn check_installed(client: &Client) -> Result<(), Fatal> {
    let tenants: Api<Tenant> = Api::all(client.clone());
    match tenants.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Fatal::NotInstalled),
        Err(error @ kube::Error::Api(_)) => Err(Fatal::NotAllowed(Box::new(error))),
        Err(error) => Err(Fatal::NoCluster(Box::new(error))),
    }
}
