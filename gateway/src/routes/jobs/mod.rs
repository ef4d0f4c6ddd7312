//! Jobs: queued here, run by the tenant's own worker.

pub(super) mod bytes;
pub(super) mod change;
pub(super) mod create;
pub(super) mod read;
pub(super) mod schedules;

use axum::{extract::FromRequestParts, http::request::Parts};
use keystead_kv::queue::{Changed, Job, MAX_PAYLOAD_BYTES, kinds::Work};
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use crate::{
    problem::{Code, Problem},
    routes::{path_parameter, time},
    tenants::Tenant,
};

pub(super) use bytes::{create_input, result};
pub(super) use change::{cancel, retry};
pub(super) use create::create;
pub(super) use read::{list, read};

/// The payload of a job, as JSON text: of a kind that the tenant's worker can do. What a worker of its own can do nobody knows.
fn payload_of(tenant: &Tenant, kind: &str, payload: Option<Box<RawValue>>) -> Result<String, Problem> {
    let invalid = |detail: String| Problem::new(Code::Invalid, detail);
    let payload = payload.map_or_else(|| "null".to_owned(), |payload| payload.get().to_owned());
    if payload.len() > MAX_PAYLOAD_BYTES {
        let detail = format!("the payload has more than {MAX_PAYLOAD_BYTES} bytes");
        return Err(Problem::new(Code::TooLarge, detail));
    }
    if !tenant.route().own_worker {
        let work = Work::parse(kind, &payload).map_err(|error| invalid(error.to_string()))?;
        if let Work::Webhook(webhook) = work {
            let permit = tenant.route().webhooks.permit(&webhook.url).map(drop);
            permit.map_err(|refusal| invalid(refusal.to_string()))?;
        }
    } else if !(1..=MAX_KIND_BYTES).contains(&kind.len()) || kind.chars().any(char::is_control) {
        return Err(invalid(format!("kind: 1 to {MAX_KIND_BYTES} bytes without control characters")));
    }
    Ok(payload)
}

/// Longest kind of a worker of the tenant's own.
const MAX_KIND_BYTES: usize = 64;

fn not_found() -> Problem {
    Problem::new(Code::JobNotFound, "there is no such job, or it ended more than 7 days ago")
}

/// The id of a job, from the path: nothing else may become a part of a name in Redis.
pub(crate) struct JobId(String);

impl<S: Send + Sync> FromRequestParts<S> for JobId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_parameter(parts, state, "id").await.map_err(|_| not_found())?;
        let id = id.and_then(|id| Uuid::parse_str(&id).ok());
        Ok(Self(id.ok_or_else(not_found)?.to_string()))
    }
}

/// A job as the API shows it.
fn job_json(job: &Job) -> Value {
    json!({
        "id": job.id,
        "kind": job.kind,
        "payload": job.payload,
        "status": job.status,
        "priority": job.priority,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "run_at": time(Some(job.run_at)),
        "created_at": time(Some(job.created_at)),
        "started_at": time(job.started_at),
        "finished_at": time(job.finished_at),
        "error": job.error,
        "result": job.result,
        "progress": job.progress,
    })
}

fn changed(changed: Changed, wrong_state: &'static str) -> Result<(), Problem> {
    match changed {
        Changed::Done => Ok(()),
        Changed::WrongState => Err(Problem::new(Code::JobState, wrong_state)),
        Changed::Unknown => Err(not_found()),
    }
}
