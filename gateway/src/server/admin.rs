//! What is for the platform's own people: an API of its own, which listens on loopback, so that whoever may forward a port
//! to the pod may use it, and nobody else.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::{
    problem::{Code, Problem},
    telemetry::{LogLevels, Logs},
};

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
        Err(detail) => Problem::new(Code::Invalid, detail).render("admin"),
    }
}
