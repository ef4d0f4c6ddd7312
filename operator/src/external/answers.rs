//! What is answered: <https://github.com/kubernetes/metrics/tree/master/pkg/apis/external_metrics>.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{metrics::QUEUE_DEPTH, tenant::names, usage::Readings};

const GROUP_VERSION: &str = "external.metrics.k8s.io/v1beta1";

/// The API, on what was read last.
pub fn router(readings: Arc<Readings>) -> Router {
    let root = format!("/apis/{GROUP_VERSION}");
    Router::new()
        .route(&root, get(resources))
        .route(&format!("{root}/namespaces/{{namespace}}/{{metric}}"), get(values))
        .fallback(async || refused(StatusCode::NOT_FOUND, "NotFound", "there is nothing here"))
        .with_state(readings)
}

async fn resources() -> Response {
    Json(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": [{
            "name": QUEUE_DEPTH,
            "singularName": "",
            "namespaced": true,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }],
    }))
    .into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    label_selector: String,
}

/// One value: that of the tenant whose namespace it is. Who is asked for another tenant's has none.
async fn values(
    State(readings): State<Arc<Readings>>,
    Path((namespace, metric)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    if metric != QUEUE_DEPTH {
        return refused(StatusCode::NOT_FOUND, "NotFound", "there is no metric but keystead_queue_depth");
    }
    let Some(labels) = labels(&asked.label_selector) else {
        let message = "the selector is none of equalities, such as tenant=acme";
        return refused(StatusCode::BAD_REQUEST, "BadRequest", message);
    };
    let tenant = namespace.strip_prefix(names::NAMESPACE).unwrap_or_default();
    let is_selected = labels.iter().all(|(name, value)| *name == names::METRIC_LABEL && *value == tenant);
    if !is_selected {
        return list(Vec::new());
    }
    match readings.depth(tenant, Instant::now()) {
        Some((depth, at)) => list(vec![json!({
            "metricName": QUEUE_DEPTH,
            "metricLabels": { names::METRIC_LABEL: tenant },
            "timestamp": Timestamp::from_second(at.as_second()).unwrap_or_default().to_string(),
            "value": depth.to_string(),
        })]),
        // No value is no ground to remove workers: an old one could be.
        None => refused(
            StatusCode::NOT_FOUND,
            "NotFound",
            "no Redis of this namespace has said within the last minute how many jobs there are",
        ),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is built for this")]
fn list(items: Vec<serde_json::Value>) -> Response {
    Json(json!({
        "kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": items,
    }))
    .into_response()
}

fn refused(code: StatusCode, reason: &str, message: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    (code, Json(status)).into_response()
}

/// A selector of equalities; that is all that an autoscaler of ours asks for.
fn labels(selector: &str) -> Option<BTreeMap<&str, &str>> {
    let terms = selector.split(',').map(str::trim).filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (name, value) = term.split_once("==").or_else(|| term.split_once('='))?;
            let is_plain = !name.contains(['!', ' ', '(']) && !value.contains(['=', ' ', '(']);
            is_plain.then_some((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_a_list_of_equalities() {
        assert_eq!(labels("").unwrap(), BTreeMap::new());
        assert_eq!(labels("tenant=shop").unwrap(), [("tenant", "shop")].into());
        assert_eq!(labels("tenant==shop,a=b").unwrap(), [("tenant", "shop"), ("a", "b")].into());
        for wrong in ["tenant!=shop", "tenant in (shop)", "tenant", "!tenant"] {
            assert_eq!(labels(wrong), None, "{wrong}");
        }
    }
}
