//! Jobs: queued here, run by the tenant's own worker.

pub(super) mod change;
pub(super) mod create;
pub(super) mod read;

use axum::{extract::FromRequestParts, http::request::Parts};
use keystead_kv::queue::{Changed, Job};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    problem::{Code, Problem},
    routes::{path_parameter, time},
};

pub(super) use change::{cancel, retry};
pub(super) use create::create;
pub(super) use read::{list, read, result};

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
    })
}

fn changed(changed: Changed, wrong_state: &'static str) -> Result<(), Problem> {
    match changed {
        Changed::Done => Ok(()),
        Changed::WrongState => Err(Problem::new(Code::JobState, wrong_state)),
        Changed::Unknown => Err(not_found()),
    }
}
