//! Bodies: bounded, read in time, and JSON whose faults are told with line and column.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use keystead_kv::json::is_json;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    http_text::header_text,
    problem::{Code, Problem},
};

/// How long a client may take to send a body.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest body where no value is in it, in bytes.
pub(super) const SMALL: usize = 64 * 1024;

/// The whole body, `limit` bytes at most.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::TooLarge, format!("the body has more than {limit} bytes"));
    let announced =
        header_text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match tokio::time::timeout(TIMEOUT, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::BadRequest, "the body broke off")),
        Err(_) => Err(Problem::new(Code::Timeout, "the body did not come within 30 s")),
    }
}

fn is_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

pub(super) fn needs_json(headers: &HeaderMap) -> Result<(), Problem> {
    if header_text(headers, &header::CONTENT_TYPE).is_some_and(is_json) {
        Ok(())
    } else {
        Err(Problem::new(
            Code::WrongContentType,
            "send the body as JSON with `Content-Type: application/json`",
        ))
    }
}

/// A small JSON body.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    needs_json(headers)?;
    parse(&read(headers, body, SMALL).await?)
}

/// What bytes say that are JSON.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // As a text the parts of it are not looked at once more; where it is none, the error names the place.
    let parsed = match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    parsed.map_err(|error| json_problem(&error))
}

/// What a body says that may be left out.
pub(super) fn parse_optional<'a, T: Deserialize<'a>>(
    headers: &HeaderMap,
    bytes: &'a [u8],
) -> Result<Option<T>, Problem> {
    if bytes.is_empty() {
        return Ok(None);
    }
    needs_json(headers)?;
    parse(bytes).map(Some)
}

/// Text that is no JSON is a bad request; JSON of another shape is an invalid field.
fn json_problem(error: &serde_json::Error) -> Problem {
    let code = if error.is_data() { Code::Invalid } else { Code::BadRequest };
    Problem::new(code, format!("the body is not as expected: {error}"))
}
