//! `DELETE /jobs/{id}` cancels what has not begun; `POST /jobs/{id}/retry` runs what is dead or cancelled again.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::{JobId, changed};
use crate::{
    auth::{Caller, Scope},
    problem::Problem,
};

#[utoipa::path(
    delete,
    path = "/jobs/{id}",
    tag = "jobs",
    operation_id = "cancel_job",
    summary = "Cancel a job that waits",
    params(
        ("id" = String, Path, description = "As the answer that made it has it"),
    ),
    responses(
        (status = 204, description = "Cancelled"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:write"]), ("api_key" = ["jobs:write"])),
)]
pub(crate) async fn cancel(caller: Caller, JobId(id): JobId) -> Result<Response, Problem> {
    caller.needs(Scope::JobsWrite)?;
    let outcome = caller.tenant.queue().cancel(&id).await?;
    changed(outcome, "the job has begun or has ended: only what waits can be cancelled")?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[utoipa::path(
    post,
    path = "/jobs/{id}/retry",
    tag = "jobs",
    operation_id = "retry_job",
    summary = "Run a dead or cancelled job again",
    params(
        ("id" = String, Path, description = "As the answer that made it has it"),
    ),
    responses(
        (status = 202, description = "Queued again"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:write"]), ("api_key" = ["jobs:write"])),
)]
pub(crate) async fn retry(caller: Caller, JobId(id): JobId) -> Result<Response, Problem> {
    caller.needs(Scope::JobsWrite)?;
    let outcome = caller.tenant.queue().retry(&id).await?;
    changed(outcome, "only a dead or cancelled job can be run again")?;
    Ok(StatusCode::ACCEPTED.into_response())
}
