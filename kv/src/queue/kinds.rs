//! The kinds of jobs and their payloads: the gateway refuses what no worker can do, by the same types.

use serde::{Deserialize, de::DeserializeOwned};

/// A job's work, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Forgets expired keys.
    TtlSweep,
    /// Writes the entries out as NDJSON.
    KvExport(Export),
    /// Writes values anew with the encryption key of today.
    KvReencrypt(Reencrypt),
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
/// Writes values anew with the encryption key of today.
pub const KV_REENCRYPT: &str = "kv.reencrypt";
/// Every kind.
pub const KINDS: [&str; 3] = [TTL_SWEEP, KV_EXPORT, KV_REENCRYPT];

impl Work {
    /// Reads a kind and its payload (JSON; `null` stands for an empty one).
    pub fn parse(kind: &str, payload: &str) -> Result<Self, Unusable> {
        match kind {
            TTL_SWEEP => read::<Nothing>(TTL_SWEEP, payload).map(|_| Self::TtlSweep),
            KV_EXPORT => read(KV_EXPORT, payload).map(Self::KvExport),
            KV_REENCRYPT => read(KV_REENCRYPT, payload).map(Self::KvReencrypt),
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
        assert_eq!(kind, "there is no kind \"kv.exprot\": the kinds are ttl.sweep, kv.export, kv.reencrypt");
        let payload = Work::parse(TTL_SWEEP, r#"{"prefix":"a"}"#).unwrap_err().to_string();
        assert_eq!(
            payload,
            "the payload of ttl.sweep is not as expected: unknown field `prefix`, there are no fields at line 1 column 9"
        );
    }
}
