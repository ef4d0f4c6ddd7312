//! `GET /kv/{key}/exists`.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{Keyed, counted};
use crate::{auth::Scope, problem::Problem, telemetry::OperationKind};

pub(crate) async fn exists(keyed: Keyed) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let exists = keyed.caller.tenant.store().exists(&keyed.key).await;
    let exists = counted(&keyed.caller, OperationKind::Exists, exists)?;
    Ok(Json(json!({"exists": exists})).into_response())
}
