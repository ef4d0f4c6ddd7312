//! `POST /jobs`: a job for the tenant's worker; a kind or a payload that no worker can do is refused here.

use std::time::Duration;

use axum::{
    Json,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use jiff::Timestamp;
use keystead_kv::queue::{MAX_DELAY_SECONDS, NewJob, When};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::payload_of;
use crate::{
    audit::Touched,
    auth::{Caller, Scope},
    idempotency::{Attempt, once},
    problem::{Code, Problem},
    routes::body,
    tenants::Tenant,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    kind: String,
    payload: Option<Box<RawValue>>,
    /// RFC 3339.
    run_at: Option<String>,
    /// Seconds.
    delay: Option<u64>,
    max_attempts: Option<u32>,
    priority: Option<u8>,
}

#[utoipa::path(
    post,
    path = "/jobs",
    tag = "jobs",
    operation_id = "create_job",
    summary = "Queue a job",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: a repeated request is carried out once"),
    ),
    request_body(content = crate::routes::schemas::NewJob),
    responses(
        (status = 202, description = "Queued", body = crate::routes::schemas::QueuedJob),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:write"]), ("api_key" = ["jobs:write"])),
)]
pub(crate) async fn create(caller: Caller, request: Request) -> Result<Response, Problem> {
    caller.needs(Scope::JobsWrite)?;
    let (parts, content) = request.into_parts();
    body::needs_json(&parts.headers)?;
    let bytes = body::read(&parts.headers, content, body::SMALL).await?;
    let attempt = Attempt::of(&caller, &parts.headers, &parts.uri, &bytes)?;
    once(attempt, enqueue(caller, bytes)).await
}

async fn enqueue(caller: Caller, bytes: Bytes) -> Result<Response, Problem> {
    let fields: Fields = body::parse(&bytes)?;
    let job = NewJob { trace: keystead_telemetry::traceparent(), ..job(&caller.tenant, fields)? };
    let queued = caller.tenant.queue().enqueue(&job).await?;
    caller.touches(|| Touched::target(&queued.id));
    let location = format!("/t/{}/api/v1/jobs/{}", caller.tenant.name(), queued.id);
    let answer = Json(json!({"id": queued.id, "status": queued.status}));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], answer).into_response())
}

fn job(tenant: &Tenant, fields: Fields) -> Result<NewJob, Problem> {
    let invalid = |detail: String| Problem::new(Code::Invalid, detail);
    let payload = payload_of(tenant, &fields.kind, fields.payload)?;
    let when = match (fields.run_at, fields.delay) {
        (Some(_), Some(_)) => return Err(invalid("`run_at` and `delay` exclude each other".into())),
        (None, None) => When::Now,
        (None, Some(seconds)) if seconds <= MAX_DELAY_SECONDS => When::After(Duration::from_secs(seconds)),
        (None, Some(_)) => return Err(invalid(format!("delay: at most {MAX_DELAY_SECONDS} s (a year)"))),
        (Some(time), None) => {
            let wrong = || invalid("run_at: a time such as 2030-01-31T12:00:00Z".into());
            let time: Timestamp = time.parse().map_err(|_| wrong())?;
            When::At(u64::try_from(time.as_millisecond()).map_err(|_| wrong())?)
        }
    };
    let priority = fields.priority.unwrap_or(5);
    if priority > 9 {
        return Err(invalid("priority: 0 to 9, higher first".into()));
    }
    let max_attempts = fields.max_attempts.unwrap_or(5);
    if !(1..=25).contains(&max_attempts) {
        return Err(invalid("max_attempts: 1 to 25".into()));
    }
    Ok(NewJob { kind: fields.kind, payload, priority, when, max_attempts, trace: None })
}
