//! The documents of the API as OpenAPI describes them. Requests are read and answers are written elsewhere; a test sends every
//! example and compares the answers with what is said here.

#![allow(dead_code, clippy::struct_field_names, reason = "these types are described, never made")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{ToResponse, ToSchema};

/// An entry: a key's value and what is known of it.
#[derive(ToSchema)]
#[schema(example = json!({
    "key": "greeting", "value": {"hello": "world"},
    "metadata": {"version": 1, "ttl": 600, "tags": {"lang": "en"},
        "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"}
}))]
pub(crate) struct Entry {
    /// 1 to 256 bytes of UTF-8.
    pub(crate) key: String,
    /// Any JSON; bytes that are not UTF-8 come as `{"$base64": "…"}`.
    pub(crate) value: Value,
    pub(crate) metadata: Metadata,
}

/// What is known of a value.
#[derive(ToSchema)]
pub(crate) struct Metadata {
    /// 1 for a new key, raised by each write.
    pub(crate) version: u64,
    /// Seconds left; null: it never expires.
    pub(crate) ttl: Option<u64>,
    pub(crate) tags: BTreeMap<String, String>,
    /// RFC 3339 in UTC, of Redis' clock.
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
}

/// A value to be written.
#[derive(ToSchema)]
#[schema(example = json!({"value": {"hello": "world"}, "ttl": 600, "tags": {"lang": "en"}}))]
pub(crate) struct EntryWrite {
    pub(crate) value: Value,
    /// Seconds, at most 315360000. Absent: the tenant's default; null or 0: never expires.
    pub(crate) ttl: Option<u64>,
    /// At most 32; names of 1 to 128 bytes without `:`, values up to 128 bytes.
    pub(crate) tags: Option<BTreeMap<String, String>>,
}

/// A new key with its value.
#[derive(ToSchema)]
#[schema(example = json!({"key": "new-key", "value": [1, 2, 3], "ttl": null}))]
pub(crate) struct NewEntry {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) ttl: Option<u64>,
    pub(crate) tags: Option<BTreeMap<String, String>>,
}

/// A part of the keys.
#[derive(ToSchema)]
#[schema(example = json!({
    "items": [{"key": "greeting", "metadata": {"version": 1, "ttl": 600, "tags": {"lang": "en"},
        "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"}}],
    "total": 1, "page": 1, "page_size": 100
}))]
pub(crate) struct List {
    pub(crate) items: Vec<Listed>,
    /// Of all keys that the filter lets through.
    pub(crate) total: u64,
    pub(crate) page: Option<u64>,
    pub(crate) page_size: u64,
    pub(crate) next_cursor: Option<String>,
}

/// A key in a list; with `values=true` an entry.
#[derive(ToSchema)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) metadata: Metadata,
}

/// Operations that are carried out in order.
#[derive(ToSchema)]
#[schema(example = json!({"items": [
    {"op": "put", "key": "a", "value": 1}, {"op": "get", "key": "a"}, {"op": "delete", "key": "a"}]}))]
pub(crate) struct Batch {
    /// At most 1000.
    pub(crate) items: Vec<BatchItem>,
}

/// One of a batch.
#[derive(ToSchema)]
pub(crate) struct BatchItem {
    /// `put` (also when absent), `get` or `delete`.
    pub(crate) op: Option<String>,
    pub(crate) key: String,
    pub(crate) value: Option<Value>,
    pub(crate) ttl: Option<u64>,
    pub(crate) tags: Option<BTreeMap<String, String>>,
}

/// A result for each of a batch, in order.
#[derive(ToSchema)]
#[schema(example = json!({"items": [{"op": "put", "status": 201, "key": "a", "metadata": {"version": 1, "ttl": 3600, "tags": {},
    "created_at": "2026-01-31T12:00:00.000000Z", "updated_at": "2026-01-31T12:00:00.000000Z"}}]}))]
pub(crate) struct BatchResult {
    pub(crate) items: Vec<Value>,
}

/// A part of the audit log.
#[derive(ToSchema)]
#[schema(example = json!({
    "items": [{"id": "1769860800000-0", "time": "2026-01-31T12:00:00.000Z", "principal": "ada", "operation": "write_entry",
        "key": "greeting", "target": null, "items": null, "status": 201, "request_id": "4f1c2d"}],
    "total": 1, "dropped": 0, "refused": 0, "enabled": true
}))]
pub(crate) struct AuditLog {
    /// The newest first.
    pub(crate) items: Vec<AuditEntry>,
    /// How many there are in all.
    pub(crate) total: u64,
    /// How many are not there any more, or never were, and were not sent to Loki.
    pub(crate) dropped: u64,
    /// How many Loki would not take.
    pub(crate) refused: u64,
    /// Whether more are being written.
    pub(crate) enabled: bool,
    pub(crate) next_cursor: Option<String>,
}

/// What was done.
#[derive(ToSchema)]
pub(crate) struct AuditEntry {
    pub(crate) id: String,
    /// When it was answered: RFC 3339 in UTC, of Redis' clock.
    pub(crate) time: String,
    /// The user, `issuer|subject` or `api-key:<id>`; null: nobody who is known.
    pub(crate) principal: Option<String>,
    /// The `operationId` of this description.
    pub(crate) operation: String,
    pub(crate) key: Option<String>,
    /// A job, an API key or an account.
    pub(crate) target: Option<String>,
    /// How many operations a batch had.
    pub(crate) items: Option<u64>,
    /// Of the answer.
    pub(crate) status: u16,
    pub(crate) request_id: String,
}

/// An account to be made.
#[derive(ToSchema)]
#[schema(example = json!({
    "tenant": "acme", "username": "grace", "email": "grace@example.com", "password": "Correct-horse-7"}))]
pub(crate) struct Registration {
    /// 1 to 64 letters, digits, `.`, `_`, `@` and `-`.
    pub(crate) username: String,
    pub(crate) email: String,
    /// At least 8 characters with an upper-case letter, a lower-case letter and a digit.
    pub(crate) password: String,
    /// Where the path names none. Without either: a tenant of one's own, where the installation makes them.
    pub(crate) tenant: Option<String>,
    /// Only an admin may say.
    pub(crate) scopes: Option<Vec<String>>,
}

/// A user name and its password.
#[derive(ToSchema)]
#[schema(example = json!({"tenant": "acme", "username": "ada", "password": "Correct-horse-7"}))]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) tenant: Option<String>,
}

/// Tokens of a session.
#[derive(ToSchema)]
#[schema(example = json!({"tenant_id": "acme", "access_token": "eyJ…", "refresh_token": "ksr_acme.…", "token_type": "bearer",
    "expires_in": 1800}))]
pub(crate) struct Tokens {
    pub(crate) tenant_id: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) token_type: String,
    /// Seconds.
    pub(crate) expires_in: u64,
}

/// A tenant that is being made.
#[derive(ToSchema)]
#[schema(example = json!({"tenant_id": "t-q7m2x9k4c1v8b5n3", "status": "provisioning"}))]
pub(crate) struct Provisioning {
    pub(crate) tenant_id: String,
    pub(crate) status: String,
}

/// A refresh token.
#[derive(ToSchema)]
pub(crate) struct Refresh {
    pub(crate) refresh_token: String,
}

/// Who calls.
#[derive(ToSchema)]
#[schema(example = json!({"username": "ada", "email": "ada@example.com", "tenant_id": "acme", "is_active": true,
    "scopes": ["kv:read", "kv:write", "jobs:read", "jobs:write"]}))]
pub(crate) struct Account {
    pub(crate) username: String,
    /// null: an API key, or a token of another issuer that does not say.
    pub(crate) email: Option<String>,
    pub(crate) tenant_id: String,
    pub(crate) is_active: bool,
    pub(crate) scopes: Vec<String>,
    /// Only where the token is of another issuer.
    pub(crate) issuer: Option<String>,
}

/// An API key to be made.
#[derive(ToSchema)]
#[schema(example = json!({"name": "billing", "scopes": ["kv:read"], "requests_per_second": 100, "prefixes": ["billing/"]}))]
pub(crate) struct NewApiKey {
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    /// RFC 3339.
    pub(crate) expires_at: Option<String>,
    /// In each gateway pod, 1 to 1000000.
    pub(crate) requests_per_second: Option<u32>,
    /// At most 16, each of 1 to 256 bytes.
    pub(crate) prefixes: Option<Vec<String>>,
}

/// An API key. Its text is there once, when it was made or rotated.
#[derive(ToSchema)]
#[schema(example = json!({"id": "0123456789abcdef", "name": "billing", "scopes": ["kv:read"], "prefixes": ["billing/"],
    "requests_per_second": 100, "created_at": "2026-01-31T12:00:00.000Z", "created_by": "ada", "expires_at": null,
    "old_secret_expires_at": null, "api_key": "ks_acme_0123456789abcdef_…"}))]
pub(crate) struct ApiKey {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) prefixes: Vec<String>,
    pub(crate) requests_per_second: Option<u32>,
    pub(crate) created_at: String,
    pub(crate) created_by: String,
    pub(crate) expires_at: Option<String>,
    pub(crate) old_secret_expires_at: Option<String>,
    pub(crate) api_key: Option<String>,
}

/// How long the old secrets of an API key stay valid.
#[derive(ToSchema)]
#[schema(example = json!({"overlap_seconds": 3600}))]
pub(crate) struct Rotation {
    /// 0 to 2592000 (30 days); 3600 when absent.
    pub(crate) overlap_seconds: Option<u64>,
}

/// A job to be queued.
#[derive(ToSchema)]
#[schema(example = json!({"kind": "kv.export", "payload": {"prefix": "greet"}, "delay": 60, "priority": 5, "max_attempts": 3}))]
pub(crate) struct NewJob {
    pub(crate) kind: String,
    pub(crate) payload: Option<Value>,
    /// RFC 3339; excludes `delay`.
    pub(crate) run_at: Option<String>,
    /// Seconds.
    pub(crate) delay: Option<u64>,
    /// 1 to 25; 5 when absent.
    pub(crate) max_attempts: Option<u32>,
    /// 0 to 9, higher first; 5 when absent.
    pub(crate) priority: Option<u8>,
}

/// A job that was queued.
#[derive(ToSchema)]
#[schema(example = json!({"id": "0199f0a0-0000-7000-8000-000000000000", "status": "scheduled"}))]
pub(crate) struct QueuedJob {
    pub(crate) id: String,
    pub(crate) status: String,
}

/// A job.
#[derive(ToSchema)]
#[schema(example = json!({"id": "0199f0a0-0000-7000-8000-000000000000", "kind": "kv.export", "payload": {"prefix": "greet"},
    "status": "scheduled", "priority": 5, "attempts": 0, "max_attempts": 3, "run_at": "2026-01-31T12:01:00.000Z",
    "created_at": "2026-01-31T12:00:00.000Z", "started_at": null, "finished_at": null, "error": null, "result": null,
    "progress": null}))]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) payload: Value,
    /// `pending`, `scheduled`, `running`, `succeeded`, `dead` or `cancelled`.
    pub(crate) status: String,
    pub(crate) priority: u8,
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    pub(crate) run_at: String,
    pub(crate) created_at: String,
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) result: Option<Value>,
    /// null: it has said nothing of itself.
    pub(crate) progress: Option<Progress>,
}

/// How far a job is.
#[derive(ToSchema)]
pub(crate) struct Progress {
    /// 0 to 100.
    pub(crate) percent: u8,
    pub(crate) message: String,
}

/// What a job is to read.
#[derive(ToSchema)]
#[schema(example = json!({"id": "0199f0a0-0000-7000-8000-000000000000", "bytes": 28}))]
pub(crate) struct Input {
    /// For `from` in the payload of the job.
    pub(crate) id: String,
    pub(crate) bytes: u64,
}

/// A job to be queued again and again.
#[derive(ToSchema)]
#[schema(example = json!({"cron": "0 3 * * *", "kind": "kv.export", "payload": {"prefix": "greet"}}))]
pub(crate) struct NewSchedule {
    /// Minute, hour, day, month and weekday, in UTC, as in crontab(5) with numbers.
    pub(crate) cron: String,
    pub(crate) kind: String,
    pub(crate) payload: Option<Value>,
}

/// A job that is queued again and again.
#[derive(ToSchema)]
#[schema(example = json!({"name": "nightly", "cron": "0 3 * * *", "kind": "kv.export", "payload": {"prefix": "greet"},
    "next_run_at": "2026-01-31T03:00:00.000Z", "last_run_at": null, "last_job_id": null,
    "created_at": "2026-01-30T12:00:00.000Z", "updated_at": "2026-01-30T12:00:00.000Z"}))]
pub(crate) struct Schedule {
    pub(crate) name: String,
    pub(crate) cron: String,
    pub(crate) kind: String,
    pub(crate) payload: Value,
    pub(crate) next_run_at: String,
    pub(crate) last_run_at: Option<String>,
    pub(crate) last_job_id: Option<String>,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
}

/// Schedules.
#[derive(ToSchema)]
#[schema(example = json!({"total": 1, "items": []}))]
pub(crate) struct Schedules {
    pub(crate) items: Vec<Schedule>,
    pub(crate) total: u64,
}

/// Whether a key is there.
#[derive(ToSchema)]
#[schema(example = json!({"exists": true}))]
pub(crate) struct Exists {
    pub(crate) exists: bool,
}

/// A time to live.
#[derive(ToSchema)]
#[schema(example = json!({"ttl": 600}))]
pub(crate) struct TimeToLive {
    /// Seconds; −1 in an answer: it never expires; null or 0 in a request: never expires.
    #[schema(required = true)]
    pub(crate) ttl: Option<i64>,
}

/// What to add.
#[derive(ToSchema)]
#[schema(example = json!({"by": 1}))]
pub(crate) struct Increment {
    /// 1 when absent.
    pub(crate) by: Option<i64>,
}

/// A number.
#[derive(ToSchema)]
#[schema(example = json!({"value": 1}))]
pub(crate) struct Number {
    pub(crate) value: i64,
}

/// How many keys there are.
#[derive(ToSchema)]
#[schema(example = json!({"count": 1}))]
pub(crate) struct Count {
    pub(crate) count: u64,
}

/// An error (RFC 9457).
#[derive(ToSchema)]
#[schema(example = json!({"type": "urn:keystead:problem:key_not_found", "title": "There is no such key", "status": 404,
    "detail": "the key does not exist or has expired", "instance": "my-request", "code": "key_not_found"}))]
pub(crate) struct Problem {
    pub(crate) r#type: String,
    pub(crate) title: String,
    pub(crate) status: u16,
    pub(crate) detail: String,
    /// The request's id.
    pub(crate) instance: String,
    /// A stable word.
    pub(crate) code: String,
}

/// What went wrong.
#[derive(ToResponse)]
#[response(description = "What went wrong", content_type = "application/problem+json")]
pub(crate) struct Failed(Problem);
