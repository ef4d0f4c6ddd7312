//! `/auth/api-keys`: made, listed, rotated and revoked by an admin. A key's text is shown once, when it is made.

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequestParts, Request},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use keystead_kv::api_keys::{ApiKey, MAX_API_KEYS, NewApiKey};
use keystead_route::SecretText;
use serde::Deserialize;
use serde_json::{Value, json};

use super::check_scopes;
use crate::{
    audit::Touched,
    auth::{Caller, Scope},
    problem::{Code, Problem},
    routes::{body, path_parameter, time},
};

const MAX_PREFIXES: usize = 16;
const MAX_PREFIX_BYTES: usize = 256;
const MAX_NAME_BYTES: usize = 64;
/// How long the old secrets stay valid after a rotation where nothing is said, in seconds; and at most.
const OVERLAP: u64 = 3600;
const MAX_OVERLAP: u64 = 30 * 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: String,
    scopes: Vec<String>,
    /// RFC 3339.
    expires_at: Option<String>,
    requests_per_second: Option<u32>,
    prefixes: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    overlap_seconds: Option<u64>,
}

/// The id of an API key, from the path.
pub(crate) struct KeyId(String);

impl<S: Send + Sync> FromRequestParts<S> for KeyId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_parameter(parts, state, "id").await.map_err(|_| not_found())?;
        Ok(Self(id.filter(|id| id.len() <= 32).ok_or_else(not_found)?))
    }
}

#[utoipa::path(
    post,
    path = "/auth/api-keys",
    tag = "auth",
    operation_id = "create_api_key",
    summary = "Make an API key",
    request_body(content = crate::routes::schemas::NewApiKey),
    responses(
        (status = 201, description = "Made; `api_key` is shown this once", body = crate::routes::schemas::ApiKey),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["admin"]), ("api_key" = ["admin"])),
)]
pub(crate) async fn create(caller: Caller, request: Request) -> Result<Response, Problem> {
    caller.needs(Scope::Admin)?;
    let (parts, content) = request.into_parts();
    let fields: Fields = body::json(&parts.headers, content).await?;
    let new = new_key(fields, caller.principal.name().into_owned())?;
    let made = caller.tenant.api_keys().create(caller.tenant.name(), new).await?;
    let (key, text) = made.ok_or_else(|| {
        let detail = format!("a tenant has at most {MAX_API_KEYS} API keys: revoke those that nobody uses");
        Problem::new(Code::TooManyApiKeys, detail)
    })?;
    caller.touches(|| Touched::target(&key.id));
    let location = format!("/t/{}/api/v1/auth/api-keys/{}", caller.tenant.name(), key.id);
    let mut response = with_text(StatusCode::CREATED, &key, &text);
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

#[utoipa::path(
    get,
    path = "/auth/api-keys",
    tag = "auth",
    operation_id = "list_api_keys",
    summary = "All API keys",
    responses(
        (status = 200, description = "Without secrets: `items` and `total`"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["admin"]), ("api_key" = ["admin"])),
)]
pub(crate) async fn list(caller: Caller) -> Result<Response, Problem> {
    caller.needs(Scope::Admin)?;
    let keys = caller.tenant.api_keys().list().await?;
    let items: Vec<Value> = keys.iter().map(key_json).collect();
    Ok(Json(json!({"items": items, "total": items.len()})).into_response())
}

#[utoipa::path(
    delete,
    path = "/auth/api-keys/{id}",
    tag = "auth",
    operation_id = "revoke_api_key",
    summary = "Revoke an API key",
    params(
        ("id" = String, Path, description = "As the answer that made it has it"),
    ),
    responses(
        (status = 204, description = "Revoked"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["admin"]), ("api_key" = ["admin"])),
)]
pub(crate) async fn revoke(caller: Caller, KeyId(id): KeyId) -> Result<Response, Problem> {
    caller.needs(Scope::Admin)?;
    if caller.tenant.api_keys().revoke(&id).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(not_found())
    }
}

#[utoipa::path(
    post,
    path = "/auth/api-keys/{id}/rotate",
    tag = "auth",
    operation_id = "rotate_api_key",
    summary = "Give an API key another secret",
    params(
        ("id" = String, Path, description = "As the answer that made it has it"),
    ),
    request_body(content = Option<crate::routes::schemas::Rotation>),
    responses(
        (status = 200, description = "With the new `api_key`", body = crate::routes::schemas::ApiKey),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["admin"]), ("api_key" = ["admin"])),
)]
pub(crate) async fn rotate(caller: Caller, KeyId(id): KeyId, request: Request) -> Result<Response, Problem> {
    caller.needs(Scope::Admin)?;
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, body::SMALL).await?;
    let rotation: Rotation = body::parse_optional(&parts.headers, &bytes)?.unwrap_or_default();
    let overlap = rotation.overlap_seconds.unwrap_or(OVERLAP);
    if overlap > MAX_OVERLAP {
        let detail = format!("overlap_seconds: 0 to {MAX_OVERLAP} (30 days)");
        return Err(Problem::new(Code::Invalid, detail));
    }
    let overlap = Duration::from_secs(overlap);
    let rotated = caller.tenant.api_keys().rotate(caller.tenant.name(), &id, overlap).await?;
    let (key, text) = rotated.ok_or_else(not_found)?;
    Ok(with_text(StatusCode::OK, &key, &text))
}

fn new_key(fields: Fields, created_by: String) -> Result<NewApiKey, Problem> {
    let invalid = |detail: String| Err(Problem::new(Code::Invalid, detail));
    let name = fields.name;
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) || name.chars().any(char::is_control) {
        return invalid(format!("name: 1 to {MAX_NAME_BYTES} bytes without control characters"));
    }
    check_scopes(&fields.scopes)?;
    let prefixes = fields.prefixes.unwrap_or_default();
    let is_prefix = |prefix: &String| (1..=MAX_PREFIX_BYTES).contains(&prefix.len());
    if prefixes.len() > MAX_PREFIXES || !prefixes.iter().all(is_prefix) {
        return invalid(format!("prefixes: at most {MAX_PREFIXES}, each of 1 to {MAX_PREFIX_BYTES} bytes"));
    }
    if !prefixes.is_empty() && fields.scopes.iter().any(|scope| !scope.starts_with("kv:")) {
        return invalid("prefixes: they bound kv:read and kv:write only; leave the other scopes out".into());
    }
    if fields.requests_per_second.is_some_and(|rate| !(1..=1_000_000).contains(&rate)) {
        return invalid("requests_per_second: 1 to 1000000".into());
    }
    let expires_at = match fields.expires_at {
        None => None,
        Some(text) => {
            let time: Option<Timestamp> = text.parse().ok();
            match time.filter(|time| *time > Timestamp::now()) {
                Some(time) => u64::try_from(time.as_millisecond()).ok(),
                None => return invalid("expires_at: a time to come, such as 2030-01-31T12:00:00Z".into()),
            }
        }
    };
    Ok(NewApiKey {
        name,
        scopes: fields.scopes,
        prefixes,
        requests_per_second: fields.requests_per_second,
        created_by,
        expires_at,
    })
}

fn key_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "prefixes": key.prefixes,
        "requests_per_second": key.requests_per_second,
        "created_at": time(Some(key.created_at)),
        "created_by": key.created_by,
        "expires_at": time(key.expires_at),
        "old_secret_expires_at": time(key.old_secret_until()),
    })
}

/// RFC 6749, section 5.1, for another kind of secret: no cache keeps it.
fn with_text(status: StatusCode, key: &ApiKey, text: &SecretText) -> Response {
    let mut json = key_json(key);
    json["api_key"] = text.expose().into();
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json)).into_response()
}

fn not_found() -> Problem {
    Problem::new(Code::ApiKeyNotFound, "the tenant has no API key of this id")
}
