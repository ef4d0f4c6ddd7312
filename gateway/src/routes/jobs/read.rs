//! `GET /jobs` and `/jobs/{id}`.

use axum::{
    Json,
    extract::{Query, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{JobId, job_json, not_found};
use crate::{
    auth::{Asking, Caller, Scope},
    problem::{Code, Problem},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    page: Option<u64>,
    page_size: Option<u64>,
}

#[utoipa::path(
    get,
    path = "/jobs/{id}",
    tag = "jobs",
    operation_id = "read_job",
    summary = "One job",
    params(
        ("id" = String, Path, description = "As the answer that made it has it"),
    ),
    responses(
        (status = 200, description = "The job", body = crate::routes::schemas::Job),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:read"]), ("api_key" = ["jobs:read"])),
)]
pub(crate) async fn read(caller: Caller, JobId(id): JobId) -> Result<Response, Problem> {
    caller.needs(Scope::JobsRead)?;
    let job = caller.tenant.queue().get(&id).await?.ok_or_else(not_found)?;
    Ok(Json(job_json(&job)).into_response())
}

/// The newest first.
#[utoipa::path(
    get,
    path = "/jobs",
    tag = "jobs",
    operation_id = "list_jobs",
    summary = "Jobs, the newest first",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("page_size" = Option<u64>, Query, description = "1 to 100; 50 when absent"),
    ),
    responses(
        (status = 200, description = "`items`, `total`, `page` and `page_size`"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:read"]), ("api_key" = ["jobs:read"])),
)]
pub(crate) async fn list(
    Asking(caller): Asking,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.needs(Scope::JobsRead)?;
    let Query(page) =
        page.map_err(|rejection| Problem::new(Code::Invalid, format!("the query: {rejection}")))?;
    let (number, size) = (page.page.unwrap_or(1), page.page_size.unwrap_or(50));
    if number == 0 || number > 1_000_000_000 || size == 0 || size > 100 {
        return Err(Problem::new(Code::Invalid, "page: a number from 1; page_size: 1 to 100"));
    }
    let queue = caller.tenant.queue();
    let (total, ids) = queue.list((number - 1) * size, size).await?;
    let items: Vec<Value> = queue.get_all(&ids).await?.iter().map(job_json).collect();
    let answer = json!({"items": items, "total": total, "page": number, "page_size": size});
    Ok(Json(answer).into_response())
}
