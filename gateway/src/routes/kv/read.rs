//! `GET /kv/{key}` and `HEAD`: the entry as JSON, or its bytes.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
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
    let entry = keyed.caller.tenant.store().get(&keyed.key).await;
    let entry = counted(&keyed.caller, OperationKind::Get, entry)?.ok_or_else(not_found)?;
    let etag = etag(entry.metadata.entity_tag());
    let unchanged = match Tags::of(&headers, &header::IF_NONE_MATCH) {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => tags.contains(&entry.metadata.entity_tag()),
    };
    if unchanged {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    if wants_bytes(&headers) {
        // Whatever the bytes are, a browser must not run them in the gateway's name.
        let headers = [
            (header::CONTENT_TYPE, entry.metadata.content_type.clone()),
            (header::ETAG, etag),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::CONTENT_SECURITY_POLICY, "sandbox".to_owned()),
        ];
        return Ok((headers, Body::from(entry.value)).into_response());
    }
    let json = entry_json(&keyed.key, &entry);
    Ok(([(header::CONTENT_TYPE, JSON.to_owned()), (header::ETAG, etag)], json).into_response())
}
