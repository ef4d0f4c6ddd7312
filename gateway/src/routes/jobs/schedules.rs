//! `/jobs/schedules`: jobs that are queued again and again, by the tenant's own workers.

use axum::{
    Json,
    body::Body,
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use keystead_kv::queue::{InvalidName, MAX_SCHEDULES, NewSchedule, PutSchedule, Schedule, ScheduleName};
use keystead_route::{Cron, InvalidCron};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::payload_of;
use crate::{
    auth::{Caller, Scope},
    problem::{Code, Problem},
    routes::{body, path_parameter, time},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    cron: String,
    kind: String,
    payload: Option<Box<RawValue>>,
}

/// The name of a schedule, from the path.
pub(crate) struct Name(Result<ScheduleName, InvalidName>);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = path_parameter(parts, state, "name").await.ok().flatten().unwrap_or_default();
        Ok(Self(name.parse()))
    }
}

impl Name {
    /// What has no possible name is not there.
    fn wanted(self) -> Result<ScheduleName, Problem> {
        self.0.map_err(|_| not_found())
    }
}

#[utoipa::path(
    put,
    path = "/jobs/schedules/{name}",
    tag = "jobs",
    operation_id = "write_schedule",
    summary = "Queue a job again and again",
    params(
        ("name" = String, Path, description = "1 to 63 letters, digits, `.`, `_` and `-`", example = "nightly"),
    ),
    request_body(content = crate::routes::schemas::NewSchedule),
    responses(
        (status = 200, description = "Replaced", body = crate::routes::schemas::Schedule),
        (status = 201, description = "Made", body = crate::routes::schemas::Schedule),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:write"]), ("api_key" = ["jobs:write"])),
)]
pub(crate) async fn write(
    caller: Caller,
    Name(name): Name,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Problem> {
    caller.needs(Scope::JobsWrite)?;
    let invalid = |detail: String| Problem::new(Code::Invalid, detail);
    let name = name.map_err(|error| invalid(error.to_string()))?;
    body::needs_json(&headers)?;
    let fields: Fields = body::parse(&body::read(&headers, content, body::SMALL).await?)?;
    let cron: Cron = fields.cron.parse().map_err(|error: InvalidCron| invalid(format!("cron: {error}")))?;
    let payload = payload_of(&caller.tenant, &fields.kind, fields.payload)?;
    let schedule = NewSchedule { cron, kind: fields.kind, payload };
    let queue = caller.tenant.queue();
    let status = match queue.put_schedule(&name, &schedule).await? {
        PutSchedule::Created => StatusCode::CREATED,
        PutSchedule::Replaced => StatusCode::OK,
        PutSchedule::TooMany => {
            let detail = format!("a tenant has at most {MAX_SCHEDULES} schedules: delete one first");
            return Err(Problem::new(Code::TooManySchedules, detail));
        }
        PutSchedule::NeverDue => {
            return Err(invalid(format!("cron: there is no time at which {:?} is due", fields.cron)));
        }
    };
    let written = queue.schedule(&name).await?.ok_or_else(not_found)?;
    Ok((status, Json(schedule_json(&written))).into_response())
}

#[utoipa::path(
    get,
    path = "/jobs/schedules/{name}",
    tag = "jobs",
    operation_id = "read_schedule",
    summary = "One schedule",
    params(
        ("name" = String, Path, description = "As it was written", example = "nightly"),
    ),
    responses(
        (status = 200, description = "The schedule", body = crate::routes::schemas::Schedule),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:write"]), ("api_key" = ["jobs:write"])),
)]
pub(crate) async fn read(caller: Caller, name: Name) -> Result<Response, Problem> {
    caller.needs(Scope::JobsWrite)?;
    let schedule = caller.tenant.queue().schedule(&name.wanted()?).await?;
    Ok(Json(schedule_json(&schedule.ok_or_else(not_found)?)).into_response())
}

#[utoipa::path(
    get,
    path = "/jobs/schedules",
    tag = "jobs",
    operation_id = "list_schedules",
    summary = "All schedules, the next to be due first",
    responses(
        (status = 200, description = "All of them", body = crate::routes::schemas::Schedules),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:write"]), ("api_key" = ["jobs:write"])),
)]
pub(crate) async fn list(caller: Caller) -> Result<Response, Problem> {
    caller.needs(Scope::JobsWrite)?;
    let items: Vec<Value> = caller.tenant.queue().schedules().await?.iter().map(schedule_json).collect();
    Ok(Json(json!({"total": items.len(), "items": items})).into_response())
}

#[utoipa::path(
    delete,
    path = "/jobs/schedules/{name}",
    tag = "jobs",
    operation_id = "delete_schedule",
    summary = "End a schedule; jobs that it has queued stay",
    params(
        ("name" = String, Path, description = "As it was written", example = "nightly"),
    ),
    responses(
        (status = 204, description = "Ended"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["jobs:write"]), ("api_key" = ["jobs:write"])),
)]
pub(crate) async fn remove(caller: Caller, name: Name) -> Result<Response, Problem> {
    caller.needs(Scope::JobsWrite)?;
    if caller.tenant.queue().remove_schedule(&name.wanted()?).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(not_found())
    }
}

fn not_found() -> Problem {
    Problem::new(Code::ScheduleNotFound, "there is no such schedule")
}

/// A schedule as the API shows it.
fn schedule_json(schedule: &Schedule) -> Value {
    json!({
        "name": schedule.name,
        "cron": schedule.cron,
        "kind": schedule.kind,
        "payload": schedule.payload,
        "next_run_at": time(Some(schedule.next_run_at)),
        "last_run_at": time(schedule.last_run_at),
        "last_job_id": schedule.last_job_id,
        "created_at": time(Some(schedule.created_at)),
        "updated_at": time(Some(schedule.updated_at)),
    })
}
