//! `GET /kv/{key}` and `HEAD`: the entry as JSON, or its bytes.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use keystead_kv::{JSON, json::entry_json};

use super::{Keyed, counted, not_found};
use crate::{
    auth::Scope,
    http_text::{Tags, etag, wants_bytes},
    problem::Problem,
    telemetry::OperationKind,
};

pub(crate) async fn read(keyed: Keyed, headers: HeaderMap) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let read = keyed.caller.tenant.store().read(&keyed.key).await;
    let read = counted(&keyed.caller, OperationKind::Get, read)?;
    if let Some(was_cached) = read.was_cached {
        keyed.caller.tenant.operations.count_cache(was_cached);
    }
    let entry = read.entry.ok_or_else(not_found)?;
    let etag = etag(entry.metadata.entity_tag());
    let unchanged = match Tags::of(&headers, &header::IF_NONE_MATCH) {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => tags.contains(&entry.metadata.entity_tag()),
    };
    // The same path answers with the entry or with its bytes, as the client asks.
    let of_both = [(header::ETAG, etag), (header::VARY, HeaderValue::from_static("accept"))];
    if unchanged {
        return Ok((StatusCode::NOT_MODIFIED, of_both).into_response());
    }
    if wants_bytes(&headers) {
        let content_type = HeaderValue::try_from(&entry.metadata.content_type)
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        // Whatever the bytes are, a browser must not run them in the gateway's name.
        let of_bytes = [
            (header::CONTENT_TYPE, content_type),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox")),
        ];
        return Ok((of_both, of_bytes, Body::from(entry.value.clone())).into_response());
    }
    let of_json = [(header::CONTENT_TYPE, HeaderValue::from_static(JSON))];
    Ok((of_both, of_json, entry_json(&keyed.key, &entry)).into_response())
}
