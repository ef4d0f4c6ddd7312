//! Bodies: bounded, read in time, and JSON whose faults are told with line and column.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use keystead_kv::json::is_json;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    auth::Caller,
    http_text::header_text,
    problem::{Code, Problem},
    tenants::{LARGE, MAX_BODIES, Room},
};

/// How long a client may take to send a body.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest body where no value is in it, in bytes.
pub(super) const SMALL: usize = 64 * 1024;

/// The whole body, `limit` bytes at most; for small ones.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    in_time(headers, body, limit, None).await
}

/// The same for one that may be large: what a tenant sends takes only so much of the gateway's memory, however slowly it comes.
pub(super) async fn read_large(
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, Problem> {
    let mut room = caller.tenant.room();
    let bytes = in_time(headers, body, limit, Some(&mut room)).await?;
    Ok(room.around(bytes))
}

async fn in_time(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    room: Option<&mut Room>,
) -> Result<Bytes, Problem> {
    let announced =
        header_text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut is_refused = false;
    let gathered = tokio::time::timeout(TIMEOUT, gather(body, limit, room, &mut is_refused)).await;
    if is_refused {
        let detail = "this tenant's requests have too many bytes under way: retry later";
        return Err(Problem::new(Code::TooBusy, detail));
    }
    gathered.unwrap_or_else(|_| Err(Problem::new(Code::Timeout, "the body did not come within 30 s")))
}

/// Most come in one piece, which is not copied.
/// `is_refused`: there was no room, and nothing was kept.
async fn gather(
    mut body: Body,
    limit: usize,
    mut room: Option<&mut Room>,
    is_refused: &mut bool,
) -> Result<Bytes, Problem> {
    let (mut first, mut all, mut length) = (Bytes::new(), BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(Code::BadRequest, "the body broke off"))?;
        let Ok(piece) = frame.into_data() else { continue };
        length += piece.len();
        if length > limit {
            return Err(too_large(limit));
        }
        if *is_refused {
            continue;
        }
        if first.is_empty() && all.is_empty() {
            first = piece;
        } else {
            // Not a list of pieces: each may be of one byte.
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&piece);
        }
        if length > LARGE
            && let Some(room) = &mut room
            && room.grow_to(all.capacity().max(length)) > MAX_BODIES.max(limit)
        {
            // The rest is read and dropped: who is still sending would not see the answer.
            *is_refused = true;
            room.leave();
            (first, all) = (Bytes::new(), BytesMut::new());
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("the body has more than {limit} bytes"))
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
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // As a text the parts of it are not looked at once more; where it is none, the error names the place.
    let parsed = match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    parsed.map_err(|error| json_problem(&error))
}

/// What a body says that may be left out, or be null.
pub(super) fn parse_optional<'a, T: Deserialize<'a>>(
    headers: &HeaderMap,
    bytes: &'a [u8],
) -> Result<Option<T>, Problem> {
    if bytes.is_empty() {
        return Ok(None);
    }
    needs_json(headers)?;
    parse(bytes)
}

/// Text that is no JSON is a bad request; JSON of another shape is an invalid field.
fn json_problem(error: &serde_json::Error) -> Problem {
    let code = if error.is_data() { Code::Invalid } else { Code::BadRequest };
    Problem::new(code, format!("the body is not as expected: {error}"))
}
