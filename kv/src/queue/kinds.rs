//! The kinds of jobs and their payloads: the gateway refuses what no worker can do, by the same types.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use uuid::Uuid;

use super::webhook::Webhook;

/// A job's work, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Forgets expired keys.
    TtlSweep,
    /// Writes the entries out as NDJSON.
    KvExport(Export),
    /// Writes the entries of NDJSON.
    KvImport(Import),
    /// Deletes entries.
    KvDelete(Delete),
    /// Writes values anew with the encryption key of today.
    KvReencrypt(Reencrypt),
    /// Sends the audit log on.
    AuditFlush,
    /// Looks at what the tenant uses.
    UsageSnapshot,
    /// Tells somebody else.
    Webhook(Webhook),
}

/// Payload of `kv.import`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Id of an input, or of a job that has left NDJSON.
    #[serde(deserialize_with = "id")]
    pub from: Uuid,
}

/// Nothing else may become a part of a name in Redis.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    Uuid::parse_str(&String::deserialize(deserializer)?).map_err(|_| D::Error::custom("`from` is no id"))
}

/// Payload of `kv.delete`: what is deleted has the prefix and all of the tags.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "DeleteFields")]
pub struct Delete {
    pub prefix: String,
    pub tags: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteFields {
    prefix: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl TryFrom<DeleteFields> for Delete {
    type Error = &'static str;

    /// Nobody deletes all keys by leaving something out.
    fn try_from(fields: DeleteFields) -> Result<Self, &'static str> {
        if fields.prefix.is_none() && fields.tags.is_empty() {
            return Err("name a `prefix` or `tags`; the prefix \"\" stands for all keys");
        }
        Ok(Self { prefix: fields.prefix.unwrap_or_default(), tags: fields.tags.into_iter().collect() })
    }
}

/// Payload of `kv.reencrypt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reencrypt {
    /// Id of the key that values ought to be encrypted with, empty for none; for a worker that knows it only.
    pub target: Option<String>,
}

/// Payload of `kv.export`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Only keys that begin with this.
    #[serde(default)]
    pub prefix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Why a kind or its payload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("there is no kind {kind:?}: the kinds are {}", KINDS.join(", "))]
    Kind { kind: String },
    #[error("the payload of {kind} is not as expected: {reason}")]
    Payload { kind: &'static str, reason: String },
}

/// Forgets expired keys.
pub const TTL_SWEEP: &str = "ttl.sweep";
/// Writes the entries out.
pub const KV_EXPORT: &str = "kv.export";
/// Writes entries.
pub const KV_IMPORT: &str = "kv.import";
/// Deletes entries.
pub const KV_DELETE: &str = "kv.delete";
/// Writes values anew with the encryption key of today.
pub const KV_REENCRYPT: &str = "kv.reencrypt";
/// Sends the audit log on.
pub const AUDIT_FLUSH: &str = "audit.flush";
/// Looks at what the tenant uses.
pub const USAGE_SNAPSHOT: &str = "usage.snapshot";
/// Tells somebody else.
pub const WEBHOOK: &str = "webhook";
/// Every kind.
pub const KINDS: [&str; 8] =
    [TTL_SWEEP, KV_EXPORT, KV_IMPORT, KV_DELETE, KV_REENCRYPT, AUDIT_FLUSH, USAGE_SNAPSHOT, WEBHOOK];

impl Work {
    /// Reads a kind and its payload (JSON; `null` stands for an empty one).
    pub fn parse(kind: &str, payload: &str) -> Result<Self, Unusable> {
        match kind {
            TTL_SWEEP => read::<Nothing>(TTL_SWEEP, payload).map(|_| Self::TtlSweep),
            KV_EXPORT => read(KV_EXPORT, payload).map(Self::KvExport),
            KV_IMPORT => read(KV_IMPORT, payload).map(Self::KvImport),
            KV_DELETE => read(KV_DELETE, payload).map(Self::KvDelete),
            KV_REENCRYPT => read(KV_REENCRYPT, payload).map(Self::KvReencrypt),
            AUDIT_FLUSH => read::<Nothing>(AUDIT_FLUSH, payload).map(|_| Self::AuditFlush),
            USAGE_SNAPSHOT => read::<Nothing>(USAGE_SNAPSHOT, payload).map(|_| Self::UsageSnapshot),
            WEBHOOK => read(WEBHOOK, payload).map(Self::Webhook),
            other => Err(Unusable::Kind { kind: other.to_owned() }),
        }
    }
}

fn read<T: DeserializeOwned>(kind: &'static str, payload: &str) -> Result<T, Unusable> {
    let payload = if payload.trim() == "null" { "{}" } else { payload };
    serde_json::from_str(payload).map_err(|error| Unusable::Payload { kind, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_worker_can_do_is_refused_with_what_there_is() {
        assert_eq!(Work::parse(TTL_SWEEP, "null"), Ok(Work::TtlSweep));
        assert_eq!(
            Work::parse(KV_EXPORT, r#"{"prefix":"a"}"#),
            Ok(Work::KvExport(Export { prefix: "a".into() }))
        );
        let kind = Work::parse("kv.exprot", "{}").unwrap_err().to_string();
        assert_eq!(
            kind,
            "there is no kind \"kv.exprot\": the kinds are ttl.sweep, kv.export, kv.import, kv.delete, kv.reencrypt, audit.flush, usage.snapshot, webhook"
        );
        let all = Work::parse(KV_DELETE, "null").unwrap_err().to_string();
        assert!(all.contains("name a `prefix` or `tags`"), "{all}");
        assert_eq!(
            Work::parse(KV_DELETE, r#"{"tags":{"colour":"red"}}"#),
            Ok(Work::KvDelete(Delete { prefix: String::new(), tags: vec![("colour".into(), "red".into())] }))
        );
        let payload = Work::parse(TTL_SWEEP, r#"{"prefix":"a"}"#).unwrap_err().to_string();
        assert_eq!(
            payload,
            "the payload of ttl.sweep is not as expected: unknown field `prefix`, there are no fields at line 1 column 9"
        );
    }
}
