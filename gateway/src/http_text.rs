//! HTTP's texts: media types and entity tags.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use keystead_kv::EntityTag;

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether the client wants the bytes themselves.
pub(crate) fn wants_bytes(headers: &HeaderMap) -> bool {
    header_text(headers, &header::ACCEPT).is_some_and(|accept| {
        accept.split(',').any(|range| {
            range.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/octet-stream")
        })
    })
}

/// The `If-Match` or `If-None-Match` of a request (RFC 9110, section 13.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    Any,
    These(Vec<EntityTag>),
}

impl Tags {
    /// None where the header is not there. Tags of another maker match nothing and are left out.
    pub(crate) fn of(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut tags = Vec::new();
        let mut present = false;
        for value in headers.get_all(name) {
            present = true;
            for part in value.to_str().unwrap_or("").split(',').map(str::trim) {
                if part == "*" {
                    return Some(Self::Any);
                }
                let part = part.strip_prefix("W/").unwrap_or(part);
                let opaque = part.strip_prefix('"').and_then(|part| part.strip_suffix('"'));
                tags.extend(opaque.and_then(EntityTag::parse));
            }
        }
        present.then_some(Self::These(tags))
    }
}

/// The `ETag` header of a state.
pub(crate) fn etag(tag: EntityTag) -> HeaderValue {
    // Digits, a hyphen and quotes are a valid header value.
    HeaderValue::try_from(tag.quoted()).unwrap_or(HeaderValue::from_static("\"\""))
}
