//! `GET`, `PUT` and `DELETE /kv/{key}/ttl`: how long an entry lives. Its version stays.

use axum::{
    Json,
    body::Body,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use keystead_kv::Ttl;
use serde::Deserialize;
use serde_json::json;

use super::{Keyed, counted, not_found, present, ttl_of};
use crate::{
    auth::Scope,
    problem::{Code, Problem},
    routes::body,
    telemetry::OperationKind,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default, deserialize_with = "present")]
    ttl: Option<Option<u64>>,
}

/// Seconds left, rounded up; −1: never expires.
#[utoipa::path(
    get,
    path = "/kv/{key}/ttl",
    tag = "kv",
    operation_id = "read_ttl",
    summary = "How long a key lives",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
    ),
    responses(
        (status = 200, description = "Seconds left; −1: it never expires", body = crate::routes::schemas::TimeToLive),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:read"]), ("api_key" = ["kv:read"])),
)]
pub(crate) async fn read(keyed: Keyed) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let left = keyed.caller.tenant.store().ttl(&keyed.key).await;
    let left = counted(&keyed.caller, OperationKind::Ttl, left)?.ok_or_else(not_found)?;
    let seconds = left.map_or(json!(-1), |milliseconds| json!(milliseconds.div_ceil(1000)));
    Ok(Json(json!({"ttl": seconds})).into_response())
}

#[utoipa::path(
    put,
    path = "/kv/{key}/ttl",
    tag = "kv",
    operation_id = "write_ttl",
    summary = "Give a key another time to live",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
    ),
    request_body(content = crate::routes::schemas::TimeToLive),
    responses(
        (status = 200, description = "The time to live", body = crate::routes::schemas::TimeToLive),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:write"]), ("api_key" = ["kv:write"])),
)]
pub(crate) async fn write(keyed: Keyed, headers: HeaderMap, content: Body) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvWrite)?;
    let fields: Fields = body::json(&headers, content).await?;
    let seconds = fields.ttl.ok_or_else(|| {
        Problem::new(
            Code::Invalid,
            "the field `ttl` is missing: seconds, or null for an entry that never expires",
        )
    })?;
    set(&keyed, ttl_of(seconds.unwrap_or(0))?).await
}

#[utoipa::path(
    delete,
    path = "/kv/{key}/ttl",
    tag = "kv",
    operation_id = "delete_ttl",
    summary = "Let a key live for ever",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
    ),
    responses(
        (status = 200, description = "−1", body = crate::routes::schemas::TimeToLive),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:write"]), ("api_key" = ["kv:write"])),
)]
pub(crate) async fn remove(keyed: Keyed) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvWrite)?;
    set(&keyed, Ttl::Forever).await
}

async fn set(keyed: &Keyed, ttl: Ttl) -> Result<Response, Problem> {
    let is_there = keyed.caller.tenant.store().set_ttl(&keyed.key, ttl).await;
    if !counted(&keyed.caller, OperationKind::SetTtl, is_there)? {
        return Err(not_found());
    }
    let seconds = if let Ttl::Seconds(seconds) = ttl { json!(seconds) } else { json!(-1) };
    Ok(Json(json!({"ttl": seconds})).into_response())
}
