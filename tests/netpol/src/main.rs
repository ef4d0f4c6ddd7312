//! Test equipment: enforces NetworkPolicies on the local cluster with nftables.
//!
//! It watches NetworkPolicies, Pods and Namespaces, computes one table and swaps it as a whole whenever it differs. It
//! is not for production: it knows one node and IPv4, a new pod is covered only once its address is known (some
//! milliseconds), and a connection that stands when a policy comes stays.

mod rules;
mod selector;

use std::{
    net::Ipv4Addr,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::{
    core::v1::{Namespace, Pod},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt as _, reflector,
        reflector::store::Writer,
        watcher::{self, watcher},
    },
};
use tokio::{io::AsyncWriteExt as _, process::Command, sync::Notify, time::sleep};

use crate::rules::{World, table};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let dns = std::env::var("KEYSTEAD_NETPOL_DNS")
        .map_err(|_| "KEYSTEAD_NETPOL_DNS must be the address of the cluster's DNS".to_owned())?;
    let dns: Ipv4Addr =
        dns.parse().map_err(|_| format!("KEYSTEAD_NETPOL_DNS: {dns:?} is no IPv4 address"))?;
    let client = Client::try_default().await.map_err(|error| error.to_string())?;
    let changed = Arc::new(Notify::new());
    let policies = follow::<NetworkPolicy>(&client, &changed);
    let pods = follow::<Pod>(&client, &changed);
    let namespaces = follow::<Namespace>(&client, &changed);
    let ready = [
        policies.wait_until_ready().await,
        pods.wait_until_ready().await,
        namespaces.wait_until_ready().await,
    ];
    if ready.iter().any(Result::is_err) {
        return Err("a watch ended".into());
    }
    let mut applied = String::new();
    loop {
        let world =
            World { policies: policies.state(), pods: pods.state(), namespaces: namespaces.state(), dns };
        let wanted = table(&world);
        if wanted != applied {
            // The table before stays until this one is taken: what fails is tried again.
            match apply(&wanted).await {
                Ok(()) => applied = wanted,
                Err(error) => {
                    eprintln!("the table is not applied yet: {error}");
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
            }
        }
        changed.notified().await;
        // What changes together is applied together.
        sleep(Duration::from_millis(10)).await;
    }
}

/// Keeps all objects of a kind, and tells of each change.
fn follow<K>(client: &Client, changed: &Arc<Notify>) -> reflector::Store<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    K: for<'de> k8s_openapi::serde::Deserialize<'de>,
{
    let writer = Writer::<K>::default();
    let store = writer.as_reader();
    let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default()).default_backoff();
    let changed = changed.clone();
    tokio::spawn(async move {
        reflector(writer, events)
            .for_each(|event| {
                match event {
                    Ok(_) => changed.notify_one(),
                    Err(error) => eprintln!("a watch broke and begins again: {error}"),
                }
                std::future::ready(())
            })
            .await;
    });
    store
}

async fn apply(table: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("nft: {error}");
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(table.as_bytes()).await.map_err(failed)?;
    }
    let status = nft.wait().await.map_err(failed)?;
    if status.success() { Ok(()) } else { Err(format!("nft refused this table:\n{table}")) }
}
