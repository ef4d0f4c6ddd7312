//! `PATCH /kv/{key}`: a merge patch of a JSON value. Time to live and tags stay.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use keystead_kv::{Condition, JSON, Outcome, Put, Ttl, json::is_json};
use serde_json::value::RawValue;

use super::{Keyed, body_limit, condition_failed, counted, not_found, put, store, write::answer};
use crate::{
    auth::Scope,
    http_text::{Tags, header_text},
    merge_patch::merge,
    problem::{Code, Problem},
    routes::body,
    telemetry::OperationKind,
};

const MERGE_PATCH: &str = "application/merge-patch+json";
/// How often it is tried where others write the same key; each try means that another one succeeded.
const TRIES: u32 = 20;

#[utoipa::path(
    patch,
    path = "/kv/{key}",
    tag = "kv",
    operation_id = "patch_entry",
    summary = "Change parts of a JSON value",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
        ("If-Match" = Option<String>, Header, description = "An `ETag`, or `*`"),
    ),
    request_body(content = serde_json::Value, content_type = "application/merge-patch+json", example = json!({"hello": "you", "more": null})),
    responses(
        (status = 200, description = "The entry as it is now", body = crate::routes::schemas::Entry),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:write"]), ("api_key" = ["kv:write"])),
)]
pub(crate) async fn patch(keyed: Keyed, headers: HeaderMap, content: Body) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvWrite)?;
    let content_type = header_text(&headers, &header::CONTENT_TYPE).unwrap_or("");
    if !content_type.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(MERGE_PATCH) {
        return Err(Problem::new(
            Code::WrongContentType,
            "send a merge patch (RFC 7396) with `Content-Type: application/merge-patch+json`",
        ));
    }
    let if_match = Tags::of(&headers, &header::IF_MATCH);
    let bytes = body::read_large(&keyed.caller, &headers, content, body_limit(&keyed.caller)).await?;
    let change: &RawValue = body::parse(&bytes)?;
    for _ in 0..TRIES {
        let entry = keyed.caller.tenant.store().get(&keyed.key).await;
        let entry = counted(&keyed.caller, OperationKind::Get, entry)?.ok_or_else(not_found)?;
        let tag = entry.metadata.entity_tag();
        if let Some(Tags::These(tags)) = &if_match
            && !tags.contains(&tag)
        {
            return Err(condition_failed(true));
        }
        let not_json = || Problem::new(Code::NotJson, "the value is not JSON: PUT replaces it");
        if !is_json(&entry.metadata.content_type) {
            return Err(not_json());
        }
        let target: &RawValue = serde_json::from_slice(&entry.value).map_err(|_| not_json())?;
        let merged = merge(Some(target), change)
            .map_err(|unpatchable| Problem::new(Code::Invalid, unpatchable.to_string()))?;
        let put = put(&keyed.caller, Bytes::from(merged), JSON.to_owned(), None, entry.metadata.tags)?;
        let put = Put { ttl: Ttl::Keep, ..put };
        match store(&keyed, &put, &Condition::Matches(vec![tag])).await? {
            Outcome::Done(written) => return answer(&keyed, put, &written, StatusCode::OK),
            // Another write came in between: what it made is patched, if the client's condition holds for that.
            Outcome::Refused { .. } => {}
        }
    }
    Err(Problem::new(Code::TooBusy, "the key is written too often to be patched: retry later"))
}
