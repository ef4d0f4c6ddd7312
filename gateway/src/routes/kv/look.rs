//! `GET /kv/{key}/exists` and `/ttl`: what is known of a key without its value.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{Keyed, counted, not_found};
use crate::{Gateway, auth::Scope, problem::Problem};

pub(crate) async fn exists(State(gateway): State<Arc<Gateway>>, keyed: Keyed) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let exists = keyed.caller.tenant.store().exists(&keyed.key).await;
    let exists = counted(&gateway, &keyed.caller, "exists", exists)?;
    Ok(Json(json!({"exists": exists})).into_response())
}

/// Seconds left, rounded up; −1: never expires.
pub(crate) async fn ttl(State(gateway): State<Arc<Gateway>>, keyed: Keyed) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let left = keyed.caller.tenant.store().ttl(&keyed.key).await;
    let left = counted(&gateway, &keyed.caller, "ttl", left)?.ok_or_else(not_found)?;
    let seconds = left.map_or(json!(-1), |milliseconds| json!(milliseconds.div_ceil(1000)));
    Ok(Json(json!({"ttl": seconds})).into_response())
}
