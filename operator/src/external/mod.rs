//! The External metrics API (`external.metrics.k8s.io/v1beta1`): the depth of each tenant's queue, for the autoscaler of its
//! workers. Served by the operator that leads, to the API server and nobody else; its answers come from memory.

mod answers;
mod front_proxy;
mod installation;
mod server;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep},
};

use crate::usage::Readings;

pub use answers::router;
pub use front_proxy::FrontProxy;
pub use installation::Installation;
pub use server::{Identity, NoTls, Tls, serve, tls};

/// How often it is looked whether everything around is as it must be.
const LOOK: Duration = Duration::from_secs(30);
/// The same after something failed.
const RETRY: Duration = Duration::from_secs(5);
/// After so long another certificate is made: well before the end of the last one.
const RENEW: Duration = Duration::from_hours(30 * 24);

/// Binds the address, so that a port in use is said at the start.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is aborted, and keeps the `APIService` and the pod's label such that the API server finds and believes it.
pub async fn run(listener: TcpListener, client: Client, installation: Installation, readings: Arc<Readings>) {
    let (current, taken) = watch::channel(None);
    let serving = serve(listener, taken, router(readings));
    let keeping = async {
        let identity = loop {
            match Identity::new(&installation.host()) {
                Ok(identity) => break identity,
                Err(error) => tracing::error!(%error, "external metrics cannot be served yet"),
            }
            sleep(RETRY).await;
        };
        let mut made: Option<(FrontProxy, Instant)> = None;
        loop {
            let pause = match keep(&client, &installation, &identity, &mut made, &current).await {
                Ok(()) => LOOK,
                Err(error) => {
                    tracing::warn!(%error, "external metrics cannot be served as they should be");
                    RETRY
                }
            };
            sleep(pause).await;
        }
    };
    tokio::join!(serving, keeping);
}

/// Why the API server cannot ask us.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    #[error(transparent)]
    Api(#[from] installation::NotInstalled),
    #[error(transparent)]
    Tls(#[from] NoTls),
}

async fn keep(
    client: &Client,
    installation: &Installation,
    identity: &Identity,
    made: &mut Option<(FrontProxy, Instant)>,
    current: &watch::Sender<Option<Arc<Tls>>>,
) -> Result<(), NotServed> {
    let proxy = installation.front_proxy(client).await?;
    if made.as_ref().is_none_or(|(of, at)| *of != proxy || at.elapsed() > RENEW) {
        let settings = tls(identity, &proxy, Timestamp::now())?;
        current.send_replace(Some(Arc::new(settings)));
        *made = Some((proxy, Instant::now()));
    }
    installation.vouch(client, &identity.ca()).await?;
    installation.mark(client, true).await?;
    Ok(())
}
