//! Keys and values.

pub(super) mod batch;
pub(super) mod create;
pub(super) mod exists;
pub(super) mod increment;
pub(super) mod list;
pub(super) mod patch;
mod raw;
pub(super) mod read;
pub(super) mod remove;
mod stream;
pub(super) mod ttl;
pub(super) mod write;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use bytes::Bytes;
use keystead_kv::{
    Condition, JSON, Outcome, Put, Ttl, Written,
    limits::{check_key, check_tags, check_ttl},
};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    Gateway,
    auth::Caller,
    http_text::Tags,
    problem::{Code, Problem},
    telemetry::OperationKind,
};

pub(super) use batch::batch;
pub(super) use create::create;
pub(super) use exists::exists;
pub(super) use increment::increment;
pub(super) use list::{count, list};
pub(super) use patch::patch;
pub(super) use read::{Wanted, read};
pub(super) use remove::remove;
pub(super) use write::write;

/// An authenticated caller and the key of the path.
pub(crate) struct Keyed {
    caller: Caller,
    key: String,
}

impl FromRequestParts<Arc<Gateway>> for Keyed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        Self::of(Caller::from_request_parts(parts, gateway).await?, parts)
    }
}

impl Keyed {
    fn of(caller: Caller, parts: &Parts) -> Result<Self, Problem> {
        let key = key_of(parts.uri.path()).ok_or_else(|| {
            Problem::new(Code::BadRequest, "the key in the path is not percent-encoded UTF-8")
        })?;
        check_key(&key, caller.tenant.route().limits.max_key_bytes)?;
        caller.principal.may_use(&key)?;
        Ok(Self { caller, key })
    }
}

/// The key that stands behind `/kv/`; none where it is not percent-encoded UTF-8. In the path of every read: the router
/// would give it in memory of its own, with all other parameters.
pub(crate) fn key_of(path: &str) -> Option<String> {
    let path = match path.strip_prefix("/t/") {
        Some(of_tenant) => of_tenant.split_once('/')?.1,
        None => path.strip_prefix('/')?,
    };
    let named = path.strip_prefix("api/v1/kv/")?.split('/').next()?;
    percent_decode_str(named).decode_utf8().ok().map(Cow::into_owned)
}

fn not_found() -> Problem {
    Problem::new(Code::KeyNotFound, "the key does not exist or has expired")
}

/// What a JSON body says of an entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(default)]
    key: Option<String>,
    #[serde(borrow)]
    value: &'a RawValue,
    /// Absent: the tenant's default; null: never expires.
    #[serde(default, deserialize_with = "present")]
    ttl: Option<Option<u64>>,
    #[serde(default, deserialize_with = "or_default")]
    tags: BTreeMap<String, String>,
}

/// Tells `null` from an absent field.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Takes `null` for an absent field.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Room for what stands around a value in a JSON body: key, tags, blanks.
const AROUND: usize = 64 * 1024;

fn body_limit(caller: &Caller) -> usize {
    usize::try_from(caller.tenant.route().limits.max_value_bytes).unwrap_or(usize::MAX).saturating_add(AROUND)
}

/// Checks a value and what belongs to it against the tenant's limits.
fn put(
    caller: &Caller,
    value: Bytes,
    content_type: String,
    ttl: Option<Option<u64>>,
    tags: BTreeMap<String, String>,
) -> Result<Put, Problem> {
    let limits = &caller.tenant.route().limits;
    if value.len() as u64 > limits.max_value_bytes {
        let detail = format!(
            "the value has {} bytes: this tenant's values have at most {}",
            value.len(),
            limits.max_value_bytes
        );
        return Err(Problem::new(Code::TooLarge, detail));
    }
    check_tags(&tags)?;
    let seconds = match ttl {
        None => limits.default_ttl_seconds,
        Some(given) => given.unwrap_or(0),
    };
    Ok(Put { value, content_type, tags, ttl: ttl_of(seconds)? })
}

/// 0: never expires.
fn ttl_of(seconds: u64) -> Result<Ttl, Problem> {
    check_ttl(seconds)?;
    Ok(if seconds == 0 { Ttl::Forever } else { Ttl::Seconds(seconds) })
}

fn json_put(caller: &Caller, fields: Fields<'_>) -> Result<Put, Problem> {
    let value = Bytes::copy_from_slice(fields.value.get().as_bytes());
    put(caller, value, JSON.to_owned(), fields.ttl, fields.tags)
}

/// The condition of `If-Match` and `If-None-Match` for a write (RFC 9110, section 13.2.2).
fn condition(if_match: Option<Tags>, if_none_match: Option<Tags>) -> Result<Condition, Problem> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::Any),
        (Some(Tags::Any), None) => Ok(Condition::Present),
        (Some(Tags::These(tags)), None) => Ok(Condition::Matches(tags)),
        (None, Some(Tags::Any)) => Ok(Condition::Absent),
        _ => Err(Problem::new(
            Code::BadRequest,
            "a write takes `If-Match`, or `If-None-Match: *`, and not both",
        )),
    }
}

fn condition_failed(exists: bool) -> Problem {
    let detail = if exists {
        "the key is in another state than the condition names: read it again"
    } else {
        "the key does not exist"
    };
    Problem::new(Code::ConditionFailed, detail)
}

/// Writes and counts.
async fn store(keyed: &Keyed, put: &Put, condition: &Condition) -> Result<Outcome<Written>, Problem> {
    let outcome = keyed.caller.tenant.store().put(&keyed.key, put, condition).await;
    counted(&keyed.caller, OperationKind::Put, outcome)
}

/// Counts an operation by its result.
fn counted<T>(
    caller: &Caller,
    operation: OperationKind,
    result: Result<T, keystead_kv::Error>,
) -> Result<T, Problem> {
    caller.tenant.operations.count(operation, result.is_ok());
    result.map_err(Problem::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_the_path_says_without_its_encoding() {
        for (path, key) in [
            ("/api/v1/kv/greeting", Some("greeting")),
            ("/api/v1/kv/greeting/ttl", Some("greeting")),
            ("/t/acme/api/v1/kv/greeting/incr", Some("greeting")),
            ("/t/kv/api/v1/kv/batch", Some("batch")),
            ("/api/v1/kv/a%2Fb%20c", Some("a/b c")),
            ("/api/v1/kv/%C3%A9", Some("é")),
            ("/api/v1/kv/100%", Some("100%")),
            ("/api/v1/kv/%ff", None),
        ] {
            assert_eq!(key_of(path).as_deref(), key, "{path}");
        }
    }
}
