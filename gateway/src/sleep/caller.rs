//! Tells who wakes tenants that one is wanted: by a ConfigMap beside the routes, which the operator watches and deletes; with
//! routes from a folder by a file there, for whoever writes them.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use keystead_route::{MANAGED_BY, TENANT_LABEL, call_name};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::mpsc, time::timeout};

use super::{Call, Proof};
use crate::{kubernetes, tenants::Source};

/// Calls that are made at once.
const AT_ONCE: usize = 16;
/// For an answer of the apiserver.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where calls are made.
enum Place {
    Folder(PathBuf),
    Namespace(Box<Client>, String),
}

pub(super) struct Caller {
    source: Source,
}

impl Caller {
    pub(super) fn new(source: Source) -> Self {
        Self { source }
    }

    pub(super) async fn run(self, calls: mpsc::Receiver<Call>) {
        let place = match self.source {
            Source::Folder(folder) => Place::Folder(folder),
            Source::Secrets { namespace } => {
                Place::Namespace(Box::new(kubernetes::client().await), namespace)
            }
        };
        stream::unfold(calls, async |mut calls| calls.recv().await.map(|call| (call, calls)))
            .for_each_concurrent(AT_ONCE, async |call| {
                let made = match &place {
                    Place::Folder(folder) => in_folder(folder, &call).map_err(|error| error.to_string()),
                    Place::Namespace(client, namespace) => in_namespace(client, namespace, &call).await,
                };
                if let Err(error) = made {
                    tracing::warn!(tenant = %call.tenant, error, "nobody can be told yet that the tenant is wanted");
                }
            })
            .await;
    }
}

fn in_folder(folder: &Path, call: &Call) -> io::Result<()> {
    match File::create_new(folder.join(name(call))) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

async fn in_namespace(client: &Client, namespace: &str, call: &Call) -> Result<(), String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let params = PostParams::default();
    let object = config_map(call);
    match timeout(PATIENCE, api.create(&params, &object)).await {
        Err(_) => Err("the apiserver does not answer".to_owned()),
        // By another request, or through another gateway: one is enough.
        Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => Ok(()),
        Ok(made) => made.map(drop).map_err(|error| error.to_string()),
    }
}

fn name(call: &Call) -> String {
    call_name(&call.tenant, call.proof == Proof::Shown)
}

fn config_map(call: &Call) -> ConfigMap {
    // By these the operator watches it.
    let labels = [MANAGED_BY, (TENANT_LABEL, call.tenant.as_str())];
    let labels: BTreeMap<String, String> =
        labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    ConfigMap {
        metadata: ObjectMeta { name: Some(name(call)), labels: Some(labels), ..ObjectMeta::default() },
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_says_whose_tenant_is_wanted_and_nothing_of_who_wants_it() {
        let call = Call { tenant: "acme".parse().unwrap(), proof: Proof::Shown };
        let written = serde_json::to_value(config_map(&call)).unwrap();
        assert_eq!(
            written,
            serde_json::json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": "wake-acme",
                    "labels": {
                        "app.kubernetes.io/managed-by": "keystead-operator",
                        "keystead.io/tenant": "acme",
                    },
                },
            })
        );
        let stranger = Call { tenant: "acme".parse().unwrap(), proof: Proof::Owed };
        assert_eq!(name(&stranger), "knock-acme");
    }
}
