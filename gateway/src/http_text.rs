//! HTTP's texts: media types and entity tags.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use keystead_kv::EntityTag;

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether the header `Accept` asks for just this media type (RFC 9110, section 12.5.1). Parameters do not matter, except that
/// `q=0` refuses it; `*/*` asks for nothing.
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().is_some_and(|named| named.eq_ignore_ascii_case(media_type)) && !parts.any(is_refusal)
    })
}

/// Whether a parameter of a media range is the weight 0.
fn is_refusal(parameter: &str) -> bool {
    let weight = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("q"));
    weight.and_then(|(_, weight)| weight.parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_asked_for_by_name() {
        for (accept, is_asked) in [
            ("application/x-ndjson", true),
            ("Application/X-NDJSON;q=1", true),
            ("application/x-ndjson, */*", true),
            ("text/html;level=1, application/x-ndjson ; charset=utf-8 ; q=0.5", true),
            ("application/x-ndjson;q=0", false),
            ("application/json, application/x-ndjson; Q=0.000", false),
            ("*/*", false),
            ("application/*", false),
            ("application/x-ndjson2", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts(&headers, "application/x-ndjson"), is_asked, "{accept}");
        }
    }
}
