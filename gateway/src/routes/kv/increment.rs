//! `POST /kv/{key}/incr`: adds to a whole number.

use axum::{
    Json,
    body::Body,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use keystead_kv::{EntityTag, LARGEST_NUMBER, NotIncremented, Ttl};
use serde::Deserialize;
use serde_json::json;

use super::{Keyed, counted, ttl_of};
use crate::{
    auth::Scope,
    http_text::etag,
    idempotency::{Attempt, once},
    problem::{Code, Problem},
    routes::body,
    telemetry::OperationKind,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// 1 when absent.
    by: Option<i64>,
}

#[utoipa::path(
    post,
    path = "/kv/{key}/incr",
    tag = "kv",
    operation_id = "increment",
    summary = "Add to a whole number",
    params(
        ("key" = String, Path, description = "An absent key counts as 0", example = "counter"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: a repeated request is carried out once"),
    ),
    request_body(content = Option<crate::routes::schemas::Increment>),
    responses(
        (status = 200, description = "The number as it is now", body = crate::routes::schemas::Number),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:write"]), ("api_key" = ["kv:write"])),
)]
pub(crate) async fn increment(
    keyed: Keyed,
    uri: Uri,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvWrite)?;
    let bytes = body::read(&headers, content, body::SMALL).await?;
    let attempt = Attempt::of(&keyed.caller, &headers, &uri, &bytes)?;
    once(attempt, add(keyed, headers, bytes)).await
}

async fn add(keyed: Keyed, headers: HeaderMap, bytes: Bytes) -> Result<Response, Problem> {
    let by = body::parse_optional::<Fields>(&headers, &bytes)?.and_then(|fields| fields.by).unwrap_or(1);
    if !(-LARGEST_NUMBER..=LARGEST_NUMBER).contains(&by) {
        return Err(Problem::new(Code::Invalid, "by: a whole number within ±9007199254740991"));
    }
    let ttl: Ttl = ttl_of(keyed.caller.tenant.route().limits.default_ttl_seconds)?;
    let sum = keyed.caller.tenant.store().increment(&keyed.key, by, ttl).await;
    let sum = counted(&keyed.caller, OperationKind::Incr, sum)?.map_err(|why| {
        let code = match why {
            NotIncremented::NotANumber => Code::NotANumber,
            NotIncremented::TooLarge => Code::NumberTooLarge,
        };
        Problem::new(code, why.to_string())
    })?;
    let tag = EntityTag { version: sum.written.version, updated: sum.written.updated };
    Ok(([(header::ETAG, etag(tag))], Json(json!({"value": sum.value}))).into_response())
}
