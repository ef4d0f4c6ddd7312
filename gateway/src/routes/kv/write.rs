//! `PUT /kv/{key}`: a value as JSON, or raw bytes with their content type.

use std::fmt::Write as _;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use keystead_kv::{
    Entry, JSON, Metadata, Outcome, Put, Written,
    json::{entry_json, is_json},
    limits::check_content_type,
};

use super::{Fields, Keyed, body_limit, condition, condition_failed, json_put, put, raw, store};
use crate::{
    auth::Scope,
    http_text::{Tags, etag, header_text},
    problem::{Code, Problem},
    routes::body,
};

#[utoipa::path(
    put,
    path = "/kv/{key}",
    tag = "kv",
    operation_id = "write_entry",
    summary = "Write a key",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
        ("If-Match" = Option<String>, Header, description = "An `ETag`, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only a new key"),
        ("X-TTL" = Option<u64>, Header, description = "Of raw bytes: seconds; 0 never expires. Absent: the tenant's default"),
        ("X-Tags" = Option<String>, Header, description = "Of raw bytes: `name=value, other=value`"),
    ),
    request_body(content = crate::routes::schemas::EntryWrite),
    responses(
        (status = 200, description = "Replaced", body = crate::routes::schemas::Entry),
        (status = 201, description = "Made", body = crate::routes::schemas::Entry),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:write"]), ("api_key" = ["kv:write"])),
)]
pub(crate) async fn write(keyed: Keyed, headers: HeaderMap, content: Body) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvWrite)?;
    let condition =
        condition(Tags::of(&headers, &header::IF_MATCH), Tags::of(&headers, &header::IF_NONE_MATCH))?;
    let content_type = header_text(&headers, &header::CONTENT_TYPE).ok_or_else(|| {
        Problem::new(
            Code::WrongContentType,
            "send a `Content-Type`: application/json, or that of the raw bytes",
        )
    })?;
    let bytes = body::read_large(&keyed.caller, &headers, content, body_limit(&keyed.caller)).await?;
    let put = if is_json(content_type) {
        let fields: Fields = body::parse(&bytes)?;
        if fields.key.as_ref().is_some_and(|key| *key != keyed.key) {
            return Err(Problem::new(Code::Invalid, "the field `key` differs from the key of the path"));
        }
        json_put(&keyed.caller, fields)?
    } else {
        check_content_type(content_type)?;
        put(&keyed.caller, bytes, content_type.to_owned(), raw::ttl(&headers)?, raw::tags(&headers)?)?
    };
    match store(&keyed, &put, &condition).await? {
        Outcome::Done(written) => {
            let status = if written.created_new { StatusCode::CREATED } else { StatusCode::OK };
            answer(&keyed, put, &written, status)
        }
        Outcome::Refused { exists } => Err(condition_failed(exists)),
    }
}

/// The entry as it is now.
pub(super) fn answer(
    keyed: &Keyed,
    put: Put,
    written: &Written,
    status: StatusCode,
) -> Result<Response, Problem> {
    let metadata = Metadata::of(put.content_type, put.tags, written);
    let etag = etag(metadata.entity_tag());
    let json = keyed.caller.tenant.answer(entry_json(&keyed.key, &Entry { metadata, value: put.value }));
    let mut response =
        (status, [(header::CONTENT_TYPE, HeaderValue::from_static(JSON)), (header::ETAG, etag)], json)
            .into_response();
    if status == StatusCode::CREATED {
        let key = percent_encode(&keyed.key);
        let location = format!("/t/{}/api/v1/kv/{key}", keyed.caller.tenant.name());
        let location =
            location.parse().map_err(|_| Problem::new(Code::Internal, "the location is no header"))?;
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// RFC 3986: everything but unreserved characters.
fn percent_encode(key: &str) -> String {
    key.bytes().fold(String::with_capacity(key.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}
