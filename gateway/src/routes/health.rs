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

#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    operation_id = "live",
    summary = "Whether the process is alive",
    responses(
        (status = 200, description = "It is"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(()),
)]
pub(super) async fn live() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// 503 in plain form, so that a probe's log says why.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    operation_id = "ready",
    summary = "Whether the routes are loaded",
    responses(
        (status = 200, description = "They are"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(()),
)]
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
