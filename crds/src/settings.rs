//! `spec.redis.config`: the settings of redis.conf that a tenant may choose. The list is what endangers neither the
//! data, nor the isolation, nor what Keystead sets itself. All exist in Redis 7.0 and later.

use kube::core::{Message, Rule, validate};
use schemars::{Schema, SchemaGenerator, json_schema};

/// What the values of a setting are.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// From … to, inclusive.
    Number(i64, i64),
    YesNo,
    /// A number, with or without a unit of redis.conf.
    Memory,
    /// Letters that pick event classes, or none.
    Events,
}

/// Each with what it is when a tenant says nothing, where Redis takes it while it runs; that is the default of Redis, but for
/// freeing memory beside the commands.
const ALLOWED: &[(&str, Kind, Option<&str>)] = &[
    ("active-defrag-cycle-max", Kind::Number(1, 99), Some("25")),
    ("active-defrag-cycle-min", Kind::Number(1, 99), Some("1")),
    ("active-expire-effort", Kind::Number(1, 10), Some("1")),
    ("activedefrag", Kind::YesNo, Some("no")),
    ("auto-aof-rewrite-min-size", Kind::Memory, Some("64mb")),
    ("auto-aof-rewrite-percentage", Kind::Number(0, 1000), Some("100")),
    ("busy-reply-threshold", Kind::Number(100, 600_000), Some("5000")),
    ("dynamic-hz", Kind::YesNo, Some("yes")),
    ("hash-max-listpack-entries", Kind::Number(0, 1_000_000), Some("512")),
    ("hash-max-listpack-value", Kind::Number(0, 1_000_000), Some("64")),
    ("hz", Kind::Number(1, 500), Some("10")),
    ("io-threads", Kind::Number(1, 16), None),
    ("latency-monitor-threshold", Kind::Number(0, 600_000), Some("0")),
    ("lazyfree-lazy-eviction", Kind::YesNo, Some("yes")),
    ("lazyfree-lazy-expire", Kind::YesNo, Some("yes")),
    ("lazyfree-lazy-server-del", Kind::YesNo, Some("yes")),
    ("lazyfree-lazy-user-del", Kind::YesNo, Some("no")),
    ("lfu-decay-time", Kind::Number(0, 10_000), Some("1")),
    ("lfu-log-factor", Kind::Number(0, 10_000), Some("10")),
    ("maxmemory-samples", Kind::Number(1, 64), Some("5")),
    ("notify-keyspace-events", Kind::Events, Some("")),
    ("slowlog-log-slower-than", Kind::Number(-1, 60_000_000), Some("10000")),
    ("slowlog-max-len", Kind::Number(0, 100_000), Some("128")),
    ("tcp-keepalive", Kind::Number(0, 3600), Some("300")),
    ("zset-max-listpack-entries", Kind::Number(0, 1_000_000), Some("128")),
    ("zset-max-listpack-value", Kind::Number(0, 1_000_000), Some("64")),
];

/// Why a setting of `redis.config` was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    #[error(
        "redis.config does not take {0}: it is set by Keystead or endangers the data or the isolation; remove it"
    )]
    NotAllowed(String),
    #[error("redis.config.{name} is {value:?}: it takes {takes}")]
    Value { name: String, value: String, takes: String },
}

/// Checks one setting, as far as the schema cannot: the apiserver knows the names, this knows the values as well.
pub fn check_setting(name: &str, value: &str) -> Result<(), InvalidSetting> {
    let Some((_, kind, _)) = ALLOWED.iter().find(|(allowed, ..)| *allowed == name) else {
        return Err(InvalidSetting::NotAllowed(name.to_owned()));
    };
    let (good, takes) = match *kind {
        Kind::Number(least, most) => {
            let good = value.parse::<i64>().is_ok_and(|number| (least..=most).contains(&number));
            (good, format!("a number from {least} to {most}"))
        }
        Kind::YesNo => (matches!(value, "yes" | "no"), "yes or no".to_owned()),
        Kind::Memory => (is_memory(value), "a size such as 64mb".to_owned()),
        Kind::Events => {
            let good = value.chars().all(|letter| "KEg$lshzxetdmnA".contains(letter));
            (good, "letters of Redis' keyspace events, such as Ex, or nothing".to_owned())
        }
    };
    if good {
        Ok(())
    } else {
        Err(InvalidSetting::Value { name: name.to_owned(), value: value.to_owned(), takes })
    }
}

/// The settings that Redis takes while it runs, with what each is when a tenant says nothing.
pub fn live_settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALLOWED.iter().filter_map(|(name, _, default)| Some((*name, (*default)?)))
}

fn is_memory(value: &str) -> bool {
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = &value[digits.len()..];
    !digits.is_empty()
        && digits.len() <= 15
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(unit, "" | "b" | "k" | "kb" | "m" | "mb" | "g" | "gb")
}

/// Settings that people try, with what to do instead. A rule of its own each: what a message says of any text at all has a
/// cost without bound, which the API server does not take.
const REFUSED: &[(&[&str], &str)] = &[
    (&["maxmemory"], "it follows from redis.resources.limits.memory"),
    (&["maxmemory-policy"], "set redis.evictionPolicy"),
    (&["appendonly", "appendfsync", "save"], "set redis.persistence.appendOnly"),
    (&["requirepass", "aclfile", "user", "masterauth"], "the operator makes the users and their passwords"),
    (
        &[
            "dir",
            "dbfilename",
            "appendfilename",
            "appenddirname",
            "logfile",
            "include",
            "loadmodule",
            "unixsocket",
        ],
        "the pod's files are the operator's",
    ),
    (
        &["bind", "port", "tls-port", "protected-mode", "timeout", "maxclients"],
        "the gateway's connections depend on it",
    ),
    (
        &["replicaof", "min-replicas-to-write", "cluster-enabled", "databases"],
        "it follows from redis.topology",
    ),
    (&["rename-command", "enable-debug-command"], "it endangers the isolation"),
];

/// A map whose rules say which settings they refuse, and why.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let mut schema = json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 64 },
    });
    let refused = REFUSED.iter().flat_map(|(names, _)| names.iter());
    let known: Vec<_> =
        ALLOWED.iter().map(|(name, ..)| name).chain(refused).map(|name| format!("'{name}'")).collect();
    let allowed: Vec<_> = ALLOWED.iter().map(|(name, ..)| *name).collect();
    let mut rules = vec![
        Rule::new(format!("self.all(name, name in [{}])", known.join(", ")))
            .message(Message::Message(format!("redis.config takes only {}", allowed.join(", ")))),
    ];
    rules.extend(REFUSED.iter().map(|(names, instead)| {
        let any: Vec<_> = names.iter().map(|name| format!("'{name}' in self")).collect();
        Rule::new(format!("!({})", any.join(" || ")))
            .message(Message::Message(format!("redis.config does not take {}: {instead}", names.join(", "))))
    }));
    for rule in rules {
        // A rule without a key that JSON could not hold: this cannot fail.
        let _ = validate(&mut schema, rule);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_endanger_something_are_refused_with_their_name() {
        for name in
            ["maxmemory", "appendonly", "dir", "aclfile", "requirepass", "protected-mode", "HZ", "save"]
        {
            assert_eq!(check_setting(name, "1"), Err(InvalidSetting::NotAllowed(name.into())));
        }
    }

    #[test]
    fn a_value_that_would_keep_redis_from_starting_is_refused_with_what_it_takes() {
        assert_eq!(
            check_setting("hz", "fast").unwrap_err().to_string(),
            "redis.config.hz is \"fast\": it takes a number from 1 to 500"
        );
        for (name, value) in [
            ("hz", "0"),
            ("hz", "10\nsave 1 1"),
            ("activedefrag", "true"),
            ("auto-aof-rewrite-min-size", "64 mb"),
            ("auto-aof-rewrite-min-size", "mb"),
            ("notify-keyspace-events", "\"Ex\""),
        ] {
            assert!(check_setting(name, value).is_err(), "{name} {value}");
        }
        for (name, value) in [
            ("hz", "10"),
            ("slowlog-log-slower-than", "-1"),
            ("auto-aof-rewrite-min-size", "64mb"),
            ("notify-keyspace-events", ""),
        ] {
            assert!(check_setting(name, value).is_ok(), "{name} {value}");
        }
    }
}
