//! What is for the platform's own people: an API of its own, which listens on loopback, so that whoever may forward a port
//! to the pod may use it, and nobody else.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::{
    finish::finish_plainly,
    problem::{Code, Problem},
    routes::parse,
    telemetry::Logs,
};

/// `/admin/log-levels`.
pub fn admin_router(logs: Arc<Logs>) -> Router {
    Router::new()
        .route("/admin/log-levels", get(read).put(write))
        .fallback(async || Problem::new(Code::RouteUnknown, "this port has /admin/log-levels"))
        .layer(from_fn(finish_plainly))
        .with_state(logs)
}

async fn read(State(logs): State<Arc<Logs>>) -> Response {
    Json(logs.levels()).into_response()
}

async fn write(State(logs): State<Arc<Logs>>, body: Bytes) -> Result<Response, Problem> {
    logs.set_levels(parse(&body)?).map_err(|detail| Problem::new(Code::Invalid, detail))?;
    Ok(Json(logs.levels()).into_response())
}
