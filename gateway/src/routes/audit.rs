//! `GET /audit`: who did what, the newest first.

use axum::{
    Json,
    extract::{Query, rejection::QueryRejection},
    http::header,
    response::{IntoResponse as _, Response},
};
use keystead_kv::feed::EventId;
use serde::Deserialize;
use serde_json::json;

use crate::{
    auth::{Asking, Scope},
    problem::{Code, Problem},
};

const MAX_LIMIT: u64 = 1000;
const DEFAULT_LIMIT: u64 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    cursor: Option<String>,
    limit: Option<u64>,
}

#[utoipa::path(
    get,
    path = "/audit",
    tag = "audit",
    operation_id = "read_audit_log",
    summary = "Who did what, the newest first",
    params(
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the answer before"),
        ("limit" = Option<u64>, Query, description = "1 to 1000; 100 when absent"),
    ),
    responses(
        (status = 200, description = "A part of the log", body = crate::routes::schemas::AuditLog),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["admin"]), ("api_key" = ["admin"])),
)]
pub(crate) async fn read(
    Asking(caller): Asking,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.needs(Scope::Admin)?;
    let Query(page) =
        page.map_err(|rejection| Problem::new(Code::Invalid, format!("the query: {rejection}")))?;
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(Code::Invalid, format!("limit: 1 to {MAX_LIMIT}")));
    }
    let before = page.cursor.map(|cursor| cursor.parse::<EventId>()).transpose();
    let before = before
        .map_err(|_| Problem::new(Code::Invalid, "cursor: take it from `next_cursor` of the page before"))?;
    let part = caller.tenant.audit_log().page(before, limit).await?;
    let is_last = (part.entries.len() as u64) < limit;
    let next = part.entries.last().filter(|_| !is_last).map(|entry| entry.id.to_string());
    let mut body = json!({
        "items": part.entries,
        "total": part.total,
        "dropped": part.counts.dropped,
        "refused": part.counts.refused,
        "enabled": caller.tenant.trail().is_some(),
    });
    let Some(cursor) = next else { return Ok(Json(body).into_response()) };
    let link = format!("<?cursor={cursor}&limit={limit}>; rel=\"next\"");
    body["next_cursor"] = json!(cursor);
    Ok(([(header::LINK, link)], Json(body)).into_response())
}
