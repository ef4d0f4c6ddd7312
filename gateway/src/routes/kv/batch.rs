//! `POST /kv/batch`: many operations in one round trip, each with its own result.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use keystead_kv::{
    Done, JSON, Metadata, Operation,
    json::{push_entry, push_item, push_string},
    limits::check_key,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Fields, body_limit, counted, json_put, not_found, or_default, present};
use crate::{
    audit::Touched,
    auth::{Caller, Scope},
    idempotency::{Attempt, once},
    problem::{Code, Problem},
    routes::body,
    telemetry::OperationKind,
};

const MAX_ITEMS: usize = 1000;
/// A batch may hold more than one value of the largest size: at least this, in bytes.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Get,
    #[default]
    Put,
    Delete,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    #[serde(default, deserialize_with = "or_default")]
    op: Kind,
    key: Cow<'a, str>,
    /// `null` is a value.
    #[serde(default, borrow, deserialize_with = "raw")]
    value: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    ttl: Option<Option<u64>>,
    tags: Option<BTreeMap<String, String>>,
}

fn raw<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[utoipa::path(
    post,
    path = "/kv/batch",
    tag = "kv",
    operation_id = "batch",
    summary = "Many operations in one round trip",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters: a repeated request is carried out once"),
    ),
    request_body(content = crate::routes::schemas::Batch),
    responses(
        (status = 200, description = "A result for each, in order", body = crate::routes::schemas::BatchResult),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:write"]), ("api_key" = ["kv:write"])),
)]
pub(crate) async fn batch(
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Problem> {
    body::needs_json(&headers)?;
    let bytes = body::read_large(&caller, &headers, content, body_limit(&caller).max(BODY_LIMIT)).await?;
    let attempt = Attempt::of(&caller, &headers, &uri, &bytes)?;
    let is_remembered = attempt.is_some();
    once(attempt, carry_out(caller, bytes, is_remembered)).await
}

async fn carry_out(caller: Caller, bytes: Bytes, is_remembered: bool) -> Result<Response, Problem> {
    let batch: Batch = body::parse(&bytes)?;
    caller.touches(|| Touched::Items(batch.items.len()));
    if batch.items.len() > MAX_ITEMS {
        let detail = format!("the batch has {} items: at most {MAX_ITEMS}", batch.items.len());
        return Err(Problem::new(Code::Invalid, detail));
    }
    // A token that may not do all of it does none of it.
    if batch.items.iter().any(|item| item.op != Kind::Get) || batch.items.is_empty() {
        caller.needs(Scope::KvWrite)?;
    }
    if batch.items.iter().any(|item| item.op == Kind::Get) {
        if is_remembered {
            return Err(Problem::new(
                Code::Invalid,
                "a batch with an Idempotency-Key has no `get`: values are not remembered",
            ));
        }
        caller.needs(Scope::KvRead)?;
    }
    let keys: Vec<(Kind, String)> =
        batch.items.iter().map(|item| (item.op, item.key.clone().into_owned())).collect();
    let mut refused = Vec::with_capacity(keys.len());
    let mut operations = Vec::with_capacity(keys.len());
    for item in batch.items {
        match operation(&caller, item) {
            Ok(operation) => {
                operations.push(operation);
                refused.push(None);
            }
            Err(problem) => refused.push(Some(problem)),
        }
    }
    let results = counted(&caller, OperationKind::Batch, caller.tenant.store().batch(&operations).await)?;
    let mut results = operations.into_iter().zip(results);
    let mut json = String::from("{\"items\":[");
    for (index, ((op, key), problem)) in keys.iter().zip(refused).enumerate() {
        if index > 0 {
            json.push(',');
        }
        let result = match problem {
            Some(problem) => Err(problem),
            None => match results.next() {
                Some((operation, Ok(done))) => Ok((operation, done)),
                Some((_, Err(error))) => Err(error.into()),
                None => Err(Problem::new(Code::Internal, "an operation has no result")),
            },
        };
        push_result(&mut json, *op, key, result);
    }
    json.push_str("]}");
    Ok(([(header::CONTENT_TYPE, JSON)], caller.tenant.answer(json)).into_response())
}

fn operation(caller: &Caller, item: Item<'_>) -> Result<Operation, Problem> {
    let key = item.key.into_owned();
    check_key(&key, caller.tenant.route().limits.max_key_bytes)?;
    caller.principal.may_use(&key)?;
    if item.op == Kind::Put {
        let value = item.value.ok_or_else(|| Problem::new(Code::Invalid, "a put needs the field `value`"))?;
        let tags = item.tags.unwrap_or_default();
        let put = json_put(caller, Fields { key: None, value, ttl: item.ttl, tags })?;
        return Ok(Operation::Put { key, put });
    }
    if item.value.is_some() || item.ttl.is_some() || item.tags.is_some() {
        return Err(Problem::new(Code::Invalid, "value, ttl and tags belong to a put"));
    }
    Ok(if item.op == Kind::Get { Operation::Get { key } } else { Operation::Delete { key } })
}

fn push_result(json: &mut String, op: Kind, key: &str, result: Result<(Operation, Done), Problem>) {
    let op = match op {
        Kind::Get => "get",
        Kind::Put => "put",
        Kind::Delete => "delete",
    };
    let mut begin = |status: StatusCode| {
        let _ = write!(json, "{{\"op\":\"{op}\",\"status\":{},", status.as_u16());
    };
    let problem = match result {
        Ok((_, Done::Got(Some(entry)))) => {
            begin(StatusCode::OK);
            push_entry(json, key, &entry);
            None
        }
        Ok((Operation::Put { put, .. }, Done::Put(written))) => {
            begin(if written.created_new { StatusCode::CREATED } else { StatusCode::OK });
            push_item(json, key, &Metadata::of(put.content_type, put.tags, &written));
            None
        }
        Ok((_, Done::Deleted(true))) => {
            begin(StatusCode::OK);
            json.push_str("\"key\":");
            push_string(json, key);
            None
        }
        Ok((_, Done::Got(None) | Done::Deleted(false))) => Some(not_found()),
        Ok((_, Done::TooLarge { room })) => {
            let detail =
                format!("a batch of so many reads has room for {room} bytes each: read the key by itself");
            Some(Problem::new(Code::TooLarge, detail))
        }
        Ok((_, Done::Put(_))) => Some(Problem::new(Code::Internal, "a result of another operation")),
        Err(problem) => Some(problem),
    };
    if let Some(problem) = problem {
        let _ = write!(json, "{{\"op\":\"{op}\",\"status\":{},\"key\":", problem.code.status().as_u16());
        push_string(json, key);
        let _ = write!(json, ",\"error\":{}", problem.brief());
    }
    json.push('}');
}
