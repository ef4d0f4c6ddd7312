//! What is for the platform's own people: an API of its own, which listens on loopback, so that whoever may forward a port
//! to the pod may use it, and nobody else.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::json;

use crate::telemetry::{LogLevels, Logs};

/// `/admin/log-levels`.
pub fn admin_router(logs: Arc<Logs>) -> Router {
    Router::new().route("/admin/log-levels", get(read).put(write)).with_state(logs)
}

async fn read(State(logs): State<Arc<Logs>>) -> Response {
    Json(logs.levels()).into_response()
}

async fn write(State(logs): State<Arc<Logs>>, body: Bytes) -> Response {
    let levels = serde_json::from_slice::<LogLevels>(&body).map_err(|error| error.to_string());
    match levels.and_then(|levels| logs.set_levels(levels)) {
        Ok(()) => Json(logs.levels()).into_response(),
        Err(detail) => {
            let problem = json!({
                "type": "urn:keystead:problem:invalid", "title": "A field is not valid", "status": 422,
                "detail": detail, "code": "invalid",
            });
            let content_type = [(axum::http::header::CONTENT_TYPE, "application/problem+json")];
            (StatusCode::UNPROCESSABLE_ENTITY, content_type, problem.to_string()).into_response()
        }
    }
}
