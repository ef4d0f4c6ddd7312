//! `GET /kv/{key}/exists`.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{Keyed, counted};
use crate::{auth::Scope, problem::Problem, telemetry::OperationKind};

#[utoipa::path(
    get,
    path = "/kv/{key}/exists",
    tag = "kv",
    operation_id = "entry_exists",
    summary = "Whether a key is there",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
    ),
    responses(
        (status = 200, description = "Whether it is", body = crate::routes::schemas::Exists),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:read"]), ("api_key" = ["kv:read"])),
)]
pub(crate) async fn exists(keyed: Keyed) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let exists = keyed.caller.tenant.store().exists(&keyed.key).await;
    let exists = counted(&keyed.caller, OperationKind::Exists, exists)?;
    Ok(Json(json!({"exists": exists})).into_response())
}
