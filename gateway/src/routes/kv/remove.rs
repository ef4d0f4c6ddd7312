//! `DELETE /kv/{key}`.

use axum::{
    Json,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use keystead_kv::{Condition, Outcome};
use serde_json::json;

use super::{Keyed, condition, condition_failed, counted, not_found};
use crate::{auth::Scope, http_text::Tags, problem::Problem, telemetry::OperationKind};

#[utoipa::path(
    delete,
    path = "/kv/{key}",
    tag = "kv",
    operation_id = "delete_entry",
    summary = "Delete a key",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
        ("If-Match" = Option<String>, Header, description = "An `ETag`, or `*`"),
    ),
    responses(
        (status = 200, description = "Deleted"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:write"]), ("api_key" = ["kv:write"])),
)]
pub(crate) async fn remove(keyed: Keyed, headers: HeaderMap) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvWrite)?;
    // `If-Match: *` asks for a key that is there, and so does every deletion.
    let condition = match condition(Tags::of(&headers, &header::IF_MATCH), None)? {
        Condition::Present => Condition::Any,
        condition => condition,
    };
    let outcome = keyed.caller.tenant.store().delete(&keyed.key, &condition).await;
    match counted(&keyed.caller, OperationKind::Delete, outcome)? {
        Outcome::Done(()) => Ok(Json(json!({"message": "Key deleted successfully"})).into_response()),
        Outcome::Refused { exists: true } => Err(condition_failed(true)),
        Outcome::Refused { exists: false } => Err(not_found()),
    }
}
