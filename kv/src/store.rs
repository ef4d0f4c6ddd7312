//! The store: one round trip an operation. A read is a plain command, a write is one script.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::{Value, cmd};

use crate::{
    connection::Connection,
    entry::{EntityTag, Entry, Metadata, decode_head, encode_meta},
    error::{Effect, Error},
    script,
};

const INDEX: &[u8] = b"kv:{0}:i";
const EXPIRY: &[u8] = b"kv:{0}:x";
const TAGS_OF: &[u8] = b"kv:{0}:m";
const TAG_SET: &[u8] = b"kv:{0}:t:";
const ENTRY: &str = "kv:{0}:e:";
/// Most entries that one script call looks at, so that no call holds Redis up.
const STRETCH: u64 = 200;
/// Expired keys that one call of the sweep forgets: well under a millisecond each hundred.
const SWEEP_BATCH: u64 = 500;

/// A tenant's entries.
#[derive(Clone, Debug)]
pub struct Store {
    connection: Connection,
}

/// A value to be written.
#[derive(Clone, Debug)]
pub struct Put {
    pub value: Bytes,
    pub content_type: String,
    pub tags: BTreeMap<String, String>,
    pub ttl: Ttl,
}

/// How long an entry lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    Forever,
    Seconds(u64),
}

/// What must hold for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Any,
    Absent,
    Present,
    /// The entry is in one of these states.
    Matches(Vec<EntityTag>),
}

/// Whether a conditional operation happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Done(T),
    /// The condition did not hold; nothing was changed.
    Refused {
        /// Whether the key was there.
        exists: bool,
    },
}

/// What a write has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Whether the key is new.
    pub created_new: bool,
    pub version: u64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub created: u64,
    pub updated: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z; none: never expires.
    pub expires: Option<u64>,
}

/// Where a list begins.
#[derive(Clone, Copy, Debug)]
pub enum Select<'a> {
    /// After so many keys.
    Offset(u64),
    /// Behind this key, in byte order.
    After(&'a str),
}

/// A stretch of the keys, in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    pub items: Vec<(String, T)>,
    /// Keys with the prefix, in all.
    pub total: u64,
    /// The last key of the stretch, where more follow.
    pub next_after: Option<String>,
}

impl Store {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let bytes: Option<Vec<u8>> = self.connection.read(cmd("GET").arg(entry(key))).await?;
        Ok(bytes.map(|bytes| Entry::decode(&bytes.into())).transpose()?)
    }

    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        self.connection.read(cmd("EXISTS").arg(entry(key))).await
    }

    /// Milliseconds that the entry has left; the inner none: it never expires.
    pub async fn ttl(&self, key: &str) -> Result<Option<Option<u64>>, Error> {
        let left: i64 = self.connection.read(cmd("PTTL").arg(entry(key))).await?;
        Ok(match left {
            -2 => None,
            left => Some(u64::try_from(left).ok()),
        })
    }

    /// Writes a value if the condition holds.
    pub async fn put(&self, key: &str, put: &Put, condition: &Condition) -> Result<Outcome<Written>, Error> {
        let milliseconds = match put.ttl {
            Ttl::Forever => 0,
            Ttl::Seconds(seconds) => seconds.saturating_mul(1000),
        };
        let tags: Vec<Vec<u8>> = put
            .tags
            .iter()
            .map(|(name, value)| [name.as_bytes(), b"\0", value.as_bytes()].concat())
            .collect();
        let meta = encode_meta(&put.content_type, &put.tags);
        let (milliseconds, tag_count) = (milliseconds.to_string(), tags.len().to_string());
        let matches = matches(condition);
        let mut arguments: Vec<&[u8]> = vec![
            key.as_bytes(),
            word(condition),
            milliseconds.as_bytes(),
            &meta,
            &put.value,
            TAG_SET,
            tag_count.as_bytes(),
        ];
        arguments.extend(tags.iter().map(Vec::as_slice));
        arguments.extend(matches.iter().map(String::as_bytes));
        let entry = entry(key);
        let keys: [&[u8]; 4] = [entry.as_bytes(), INDEX, EXPIRY, TAGS_OF];
        let answer: Vec<u64> = self.connection.eval(&script::WRITE, Effect::Write, &keys, &arguments).await?;
        match answer[..] {
            [1, created_new, version, created, updated, expires] => Ok(Outcome::Done(Written {
                created_new: created_new == 1,
                version,
                created,
                updated,
                expires: (expires > 0).then_some(expires),
            })),
            [0, exists] => Ok(Outcome::Refused { exists: exists == 1 }),
            _ => Err(Error::Refused("an unexpected answer of write.lua".into())),
        }
    }

    /// Deletes a key; with [`Condition::Any`] it is refused only where there is none.
    pub async fn delete(&self, key: &str, condition: &Condition) -> Result<Outcome<()>, Error> {
        let matches = matches(condition);
        let mut arguments: Vec<&[u8]> = vec![key.as_bytes(), word(condition), TAG_SET];
        arguments.extend(matches.iter().map(String::as_bytes));
        let entry = entry(key);
        let keys: [&[u8]; 4] = [entry.as_bytes(), INDEX, EXPIRY, TAGS_OF];
        let answer: Vec<u64> =
            self.connection.eval(&script::DELETE, Effect::Write, &keys, &arguments).await?;
        match answer[..] {
            [1] => Ok(Outcome::Done(())),
            [0, exists] => Ok(Outcome::Refused { exists: exists == 1 }),
            _ => Err(Error::Refused("an unexpected answer of delete.lua".into())),
        }
    }

    /// How many keys there are, without those that have expired.
    pub async fn count(&self) -> Result<u64, Error> {
        self.connection.eval(&script::COUNT, Effect::Read, &[INDEX, EXPIRY], &[]).await
    }

    /// Keys with the prefix and what is known of them, in byte order. Expired keys are swept first, so that `total`
    /// and the places are exact.
    pub async fn list(
        &self,
        prefix: &str,
        select: Select<'_>,
        limit: u64,
    ) -> Result<Listing<Metadata>, Error> {
        self.sweep(20_000).await?;
        self.stretches(prefix, select, limit, b"head", |bytes| Ok(decode_head(&bytes)?.0)).await
    }

    /// Entries with the prefix, in byte order; without a sweep.
    pub async fn scan(&self, prefix: &str, select: Select<'_>, limit: u64) -> Result<Listing<Entry>, Error> {
        self.stretches(prefix, select, limit, b"value", |bytes| Ok(Entry::decode(&bytes.into())?)).await
    }

    /// Forgets keys whose entries have expired, about `budget` of them at most; gives how many it forgot.
    pub async fn sweep(&self, budget: u64) -> Result<u64, Error> {
        let mut swept = 0;
        loop {
            let batch = SWEEP_BATCH.to_string();
            let keys: [&[u8]; 3] = [INDEX, EXPIRY, TAGS_OF];
            let arguments: [&[u8]; 2] = [TAG_SET, batch.as_bytes()];
            let forgotten: u64 =
                self.connection.eval(&script::SWEEP, Effect::Write, &keys, &arguments).await?;
            swept += forgotten;
            if forgotten < SWEEP_BATCH || swept >= budget {
                return Ok(swept);
            }
        }
    }

    async fn stretches<T>(
        &self,
        prefix: &str,
        select: Select<'_>,
        limit: u64,
        what: &[u8],
        decode: impl Fn(Vec<u8>) -> Result<T, Error>,
    ) -> Result<Listing<T>, Error> {
        let mut listing = Listing { items: Vec::new(), total: 0, next_after: None };
        let (mut how, mut from): (&[u8], Vec<u8>) = match select {
            Select::Offset(skip) => (b"offset", skip.to_string().into_bytes()),
            Select::After(key) => (b"after", key.as_bytes().to_vec()),
        };
        let mut left = limit;
        while left > 0 {
            let stretch = left.min(STRETCH);
            let count = stretch.to_string();
            let arguments: [&[u8]; 6] =
                [ENTRY.as_bytes(), prefix.as_bytes(), how, &from, count.as_bytes(), what];
            let answer: Vec<Value> =
                self.connection.eval(&script::LIST, Effect::Read, &[INDEX], &arguments).await?;
            let mut answer = answer.into_iter();
            let (Some(Value::Int(total)), Some(Value::Int(next))) = (answer.next(), answer.next()) else {
                return Err(Error::Refused("an unexpected answer of list.lua".into()));
            };
            listing.total = total.unsigned_abs();
            let (mut last, mut seen) = (None, 0);
            while let (Some(Value::BulkString(key)), Some(Value::BulkString(bytes))) =
                (answer.next(), answer.next())
            {
                let key = String::from_utf8(key).map_err(|_| crate::entry::Corrupt::Malformed)?;
                last = Some(key.clone());
                seen += 1;
                // Expired between the sweep and now.
                if !bytes.is_empty() {
                    listing.items.push((key, decode(bytes)?));
                }
            }
            left -= stretch.min(seen);
            listing.next_after = last.clone().filter(|_| next >= 0);
            match last {
                Some(key) if next >= 0 => (how, from) = (b"after", key.into_bytes()),
                _ => break,
            }
        }
        Ok(listing)
    }
}

fn entry(key: &str) -> String {
    [ENTRY, key].concat()
}

fn word(condition: &Condition) -> &'static [u8] {
    match condition {
        Condition::Any => b"any",
        Condition::Absent => b"absent",
        Condition::Present => b"present",
        Condition::Matches(_) => b"match",
    }
}

fn matches(condition: &Condition) -> Vec<String> {
    match condition {
        Condition::Matches(tags) => {
            tags.iter().flat_map(|tag| [tag.version.to_string(), tag.updated.to_string()]).collect()
        }
        _ => Vec::new(),
    }
}
