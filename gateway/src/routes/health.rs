//! Health: alive without any dependency; ready with a route table. A tenant's dead Redis is neither.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use crate::Gateway;

pub(super) async fn live() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// 503 in plain form, so that a probe's log says why.
pub(super) async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    let reason = if gateway.draining.load(Ordering::Relaxed) {
        Some("draining")
    } else if gateway.table.is_loaded() {
        None
    } else {
        Some("the routes are not loaded yet")
    };
    match reason {
        None => Json(json!({"status": "ready", "tenants": gateway.table.len()})).into_response(),
        Some(reason) => {
            let problem = crate::problem::Problem::new(crate::problem::Code::NotReady, reason);
            (StatusCode::SERVICE_UNAVAILABLE, problem).into_response()
        }
    }
}
