//! The bytes of jobs, a part at a time: `POST /jobs/inputs` takes what a job is to read, `GET /jobs/{id}/result` gives what one
//! has left.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{Stream, stream};
use http_body_util::BodyExt as _;
use keystead_kv::queue::{Input, MAX_INPUT_BYTES, PART_BYTES};
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::{JobId, not_found};
use crate::{
    Gateway,
    auth::{Caller, Scope},
    http_text::header_text,
    problem::{Code, Problem},
    routes::lasting::Lasting,
};

const NDJSON: &str = "application/x-ndjson";
/// How long a client may be silent in the middle of an input.
const SILENCE: Duration = Duration::from_secs(30);

#[utoipa::path(
    post,
    path = "/jobs/inputs",
    tag = "jobs",
    operation_id = "create_input",
    summary = "Send what a job is to read",
    request_body(content = Value, content_type = "application/x-ndjson", example = json!({"key": "imported", "value": 1})),
    responses(
        (status = 201, description = "Kept for a day", body = crate::routes::schemas::Input),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:write"]), ("api_key" = ["jobs:write"])),
)]
pub(crate) async fn create_input(caller: Caller, request: Request) -> Result<Response, Problem> {
    caller.needs(Scope::JobsWrite)?;
    let (parts, content) = request.into_parts();
    let essence = header_text(&parts.headers, &header::CONTENT_TYPE).and_then(|text| text.split(';').next());
    if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(NDJSON)) {
        let detail = format!("send lines of JSON with `Content-Type: {NDJSON}`");
        return Err(Problem::new(Code::WrongContentType, detail));
    }
    // Also where the client has gone: what has come of it must not stay for a day.
    match tokio::spawn(keep(caller, content).in_current_span()).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "an input could not be kept");
            Err(Problem::new(Code::Internal, "the gateway failed: report the instance to its operators"))
        }
    }
}

async fn keep(caller: Caller, content: Body) -> Result<Response, Problem> {
    let mut input = caller.tenant.queue().begin_input();
    match receive(&mut input, content).await {
        Ok(()) => {
            let answer = json!({"id": input.id(), "bytes": input.bytes()});
            Ok((StatusCode::CREATED, Json(answer)).into_response())
        }
        Err(problem) => {
            if let Err(error) = input.give_up().await {
                tracing::warn!(tenant = %caller.tenant.name(), %error, "half an input stays for a day");
            }
            Err(problem)
        }
    }
}

async fn receive(input: &mut Input, mut content: Body) -> Result<(), Problem> {
    let mut buffer = Vec::with_capacity(PART_BYTES * 2);
    while !content.is_end_stream() {
        let frame = tokio::time::timeout(SILENCE, content.frame()).await;
        let frame =
            frame.map_err(|_| Problem::new(Code::Timeout, "nothing has come of the body for 30 s"))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Problem::new(Code::BadRequest, "the body broke off"))?;
        let Ok(bytes) = frame.into_data() else { continue };
        buffer.extend_from_slice(&bytes);
        // Something is left for the last part in any case.
        while buffer.len() > PART_BYTES {
            add(input, &buffer[..PART_BYTES], false).await?;
            buffer.drain(..PART_BYTES);
        }
    }
    add(input, &buffer, true).await
}

async fn add(input: &mut Input, bytes: &[u8], is_last: bool) -> Result<(), Problem> {
    if input.add(bytes, is_last).await? {
        return Ok(());
    }
    let detail = format!("the input has more than {MAX_INPUT_BYTES} bytes when it is compressed, or 4 GiB");
    Err(Problem::new(Code::TooLarge, detail))
}

#[utoipa::path(
    get,
    path = "/jobs/{id}/result",
    tag = "jobs",
    operation_id = "read_job_result",
    summary = "The bytes that a job has left",
    params(
        ("id" = String, Path, description = "As the answer that made it has it"),
    ),
    responses(
        (status = 200, description = "As the `content_type` of its `result` says", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:read"]), ("api_key" = ["jobs:read"])),
)]
pub(crate) async fn result(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    JobId(id): JobId,
) -> Result<Response, Problem> {
    caller.needs(Scope::JobsRead)?;
    let queue = caller.tenant.queue();
    let job = queue.get(&id).await?.ok_or_else(not_found)?;
    let nothing = || Problem::new(Code::JobNotFound, "the job has left no bytes");
    let parts = queue.parts(&id).await?.ok_or_else(nothing)?;
    let first = queue.part(&id, 0).await?.ok_or_else(nothing)?;
    let described: Option<Value> = job.result.and_then(|result| serde_json::from_str(result.get()).ok());
    let content_type = described.as_ref().and_then(|result| result["content_type"].as_str());
    let headers = [
        (header::CONTENT_TYPE, content_type.unwrap_or("application/octet-stream").to_owned()),
        (header::CONTENT_LENGTH, parts.bytes.to_string()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        // A proxy that collects the answer would need room for all of it (nginx reads this).
        (HeaderName::from_static("x-accel-buffering"), "no".to_owned()),
    ];
    let left = Parts { lasting: Lasting::begin(gateway, &caller)?, id, next: 0, count: parts.count };
    Ok((headers, Body::from_stream(left.into_stream(first))).into_response())
}

/// Where one client is in what a job has left.
struct Parts {
    lasting: Lasting,
    id: String,
    next: u32,
    count: u32,
}

impl Parts {
    fn into_stream(self, first: Vec<u8>) -> impl Stream<Item = io::Result<Bytes>> {
        stream::unfold((Some(self), Some(first)), async |(parts, first)| {
            let mut parts = parts?;
            if parts.next == parts.count {
                return None;
            }
            let part = match first {
                Some(first) => Ok(first),
                None => parts.read().await,
            };
            parts.next += 1;
            match part {
                Ok(part) => Some((Ok(parts.lasting.tenant().answer(part)), (Some(parts), None))),
                // The client sees an answer without its end, and knows that it is not whole.
                Err(error) => {
                    tracing::warn!(tenant = %parts.lasting.tenant().name(), %error, "a result broke off");
                    Some((Err(error), (None, None)))
                }
            }
        })
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        if !self.lasting.may_go_on().await {
            return Err(io::Error::other("it may not go on"));
        }
        let part = self.lasting.tenant().queue().part(&self.id, self.next).await.map_err(io::Error::other)?;
        part.ok_or_else(|| io::Error::other("it is not kept any more"))
    }
}
