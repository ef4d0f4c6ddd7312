//! `GET /kv/{key}` and `HEAD`: the entry as JSON, or its bytes.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use keystead_kv::{JSON, json::entry_json};

use super::{Keyed, counted, not_found};
use crate::{
    auth::Scope,
    http_text::{Tags, etag, wants_bytes},
    problem::Problem,
    telemetry::OperationKind,
};

/// What the head of a read asks for; the rest of it is not kept.
pub(crate) struct Wanted {
    unless: Option<Tags>,
    bytes: bool,
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let headers = &parts.headers;
        Ok(Self { unless: Tags::of(headers, &header::IF_NONE_MATCH), bytes: wants_bytes(headers) })
    }
}

#[utoipa::path(
    method(get, head),
    path = "/kv/{key}",
    tag = "kv",
    operation_id = "read_entry",
    summary = "Read a key",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag`, or `*`"),
    ),
    responses(
        (status = 200, description = "The entry, or its bytes with `Accept: application/octet-stream`", body = crate::routes::schemas::Entry),
        (status = 304, description = "It is as `If-None-Match` says"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:read"]), ("api_key" = ["kv:read"])),
)]
pub(crate) async fn read(keyed: Keyed, wanted: Wanted) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let read = keyed.caller.tenant.store().read(&keyed.key).await;
    let read = counted(&keyed.caller, OperationKind::Get, read)?;
    if let Some(was_cached) = read.was_cached {
        keyed.caller.tenant.operations.count_cache(was_cached);
    }
    let entry = read.entry.ok_or_else(not_found)?;
    let etag = etag(entry.metadata.entity_tag());
    let unchanged = match wanted.unless {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => tags.contains(&entry.metadata.entity_tag()),
    };
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    // Room for all that is added on the way out: to grow is a good part of a read's work.
    out.reserve(8);
    out.insert(header::ETAG, etag);
    // The same path answers with the entry or with its bytes, as the client asks.
    out.insert(header::VARY, HeaderValue::from_static("accept"));
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    if wanted.bytes {
        let content_type = HeaderValue::try_from(&entry.metadata.content_type)
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        out.insert(header::CONTENT_TYPE, content_type);
        // Whatever the bytes are, a browser must not run them in the gateway's name.
        out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        *response.body_mut() = Body::from(entry.value.clone());
    } else {
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        *response.body_mut() = Body::from(entry_json(&keyed.key, &entry));
    }
    Ok(response)
}
