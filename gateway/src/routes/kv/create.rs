//! `POST /kv`: a new key; one that exists is not touched.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use keystead_kv::{Condition, Outcome, limits::check_key};

use super::{Fields, Keyed, body_limit, json_put, store, write::answer};
use crate::{
    audit::Touched,
    auth::{Caller, Scope},
    problem::{Code, Problem},
    routes::body,
};

#[utoipa::path(
    post,
    path = "/kv",
    tag = "kv",
    operation_id = "create_entry",
    summary = "Write a new key",
    request_body(content = crate::routes::schemas::NewEntry),
    responses(
        (status = 201, description = "Made", body = crate::routes::schemas::Entry),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:write"]), ("api_key" = ["kv:write"])),
)]
pub(crate) async fn create(caller: Caller, headers: HeaderMap, content: Body) -> Result<Response, Problem> {
    caller.needs(Scope::KvWrite)?;
    body::needs_json(&headers)?;
    let bytes = body::read_large(&caller, &headers, content, body_limit(&caller)).await?;
    let mut fields: Fields = body::parse(&bytes)?;
    let key = fields.key.take().ok_or_else(|| Problem::new(Code::Invalid, "the field `key` is missing"))?;
    caller.touches(|| Touched::key(&key));
    check_key(&key, caller.tenant.route().limits.max_key_bytes)?;
    caller.principal.may_use(&key)?;
    let put = json_put(&caller, fields)?;
    let keyed = Keyed { caller, key };
    match store(&keyed, &put, &Condition::Absent).await? {
        Outcome::Done(written) => answer(&keyed, put, &written, StatusCode::CREATED),
        Outcome::Refused { .. } => {
            Err(Problem::new(Code::KeyExists, "the key exists: PUT replaces it, If-Match makes that safe"))
        }
    }
}
