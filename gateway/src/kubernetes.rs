//! The way to the apiserver, for the tasks beside the requests.

use std::time::Duration;

use kube::Client;

/// A client, as soon as there is one: by the service account's token that is mounted, or by `KUBECONFIG`.
pub(crate) async fn client() -> Client {
    loop {
        match Client::try_default().await {
            Ok(client) => return client,
            Err(error) => {
                tracing::error!(%error, "no way to the apiserver: mount a service account's token or set KUBECONFIG");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }
}
