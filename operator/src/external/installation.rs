//! What the API server needs to find and believe us: the label by which the Service selects the one that leads, and the
//! `caBundle` of the `APIService`. Both are fields that no manifest of the chart has: whoever applies it again changes nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Pod},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use keystead_crds::FIELD_MANAGER;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::front_proxy::FrontProxy;

const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
/// Label of the operator's pod that leads.
const LEADER_LABEL: &str = "keystead.io/leader";

/// Where this operator is installed.
#[derive(Clone, Debug)]
pub struct Installation {
    pub namespace: String,
    pub pod: String,
    /// The Service of the External metrics API.
    pub service: String,
}

/// Why the API server cannot find or believe us. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NotInstalled {
    #[error("cannot {what}: {source}")]
    Api { what: &'static str, source: kube::Error },
    #[error(
        "kube-system/extension-apiserver-authentication names no authority of a front proxy: start the API server with --requestheader-client-ca-file, or set operator.externalMetrics.enabled to false"
    )]
    NoFrontProxy,
    #[error(
        "the APIService v1beta1.external.metrics.k8s.io is not ours, it belongs to {0}: set operator.externalMetrics.enabled to false, and servedByAdapter where that serves keystead_queue_depth"
    )]
    Others(String),
}

fn failed(what: &'static str) -> impl Fn(kube::Error) -> NotInstalled {
    move |source| NotInstalled::Api { what, source }
}

impl Installation {
    /// The name by which the API server asks, and that our certificate must have.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    pub(super) async fn front_proxy(&self, client: &Client) -> Result<FrontProxy, NotInstalled> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
        let found = maps.get("extension-apiserver-authentication").await;
        let data = found.map_err(failed("read who the API server's front proxy is"))?.data;
        FrontProxy::read(&data.unwrap_or_default()).ok_or(NotInstalled::NoFrontProxy)
    }

    /// Has the API server believe what this authority signs.
    pub(super) async fn vouch(&self, client: &Client, ca: &str) -> Result<(), NotInstalled> {
        let services: Api<APIService> = Api::all(client.clone());
        let found = services.get(API_SERVICE).await.map_err(failed("read the APIService"))?;
        let spec = found.spec.unwrap_or_default();
        let names = spec.service.as_ref().map(|it| (it.namespace.as_deref(), it.name.as_deref()));
        if names != Some((Some(&self.namespace), Some(&self.service))) {
            return Err(NotInstalled::Others(format!("{:?}", spec.service.unwrap_or_default())));
        }
        if spec.ca_bundle.is_some_and(|it| it.0 == ca.as_bytes()) {
            return Ok(());
        }
        let body = json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": { "name": API_SERVICE, "uid": found.metadata.uid },
            "spec": { "caBundle": STANDARD.encode(ca) },
        });
        let params = PatchParams::apply(&format!("{FIELD_MANAGER}-external-metrics")).force();
        let patched = services.patch(API_SERVICE, &params, &Patch::Apply(&body)).await;
        patched.map_err(failed("write the caBundle of the APIService"))?;
        tracing::info!("the API server believes this operator's external metrics");
        Ok(())
    }

    /// Puts the label on our own pod, or takes it off.
    pub async fn mark(&self, client: &Client, leads: bool) -> Result<(), NotInstalled> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let label = leads.then_some("true");
        let patch = json!({ "metadata": { "labels": { LEADER_LABEL: label } } });
        let patched = pods.patch_metadata(&self.pod, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(drop).map_err(failed("mark our own pod as the one that leads"))
    }
}
