//! The store: one round trip an operation. A read is a plain command, a write is one script.

mod batch;
mod bucket;
mod change;
mod counted;
mod list;
mod merge;
mod read;
mod reseal;

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use redis::{FromRedisValue as _, Value, cmd};

pub use batch::{Done, Operation};
use bucket::Bucket;
pub(crate) use bucket::{buckets, place};
pub use change::{Incremented, LARGEST_NUMBER, NotIncremented};
pub(crate) use counted::Counted;
pub use list::{Filter, Listing, Select};
pub use read::Read;
pub use reseal::Resealed;

use crate::{
    connection::{Connection, from_value},
    entry::{Corrupt, EntityTag, Entry, SEALED, encode_meta},
    error::{Effect, Error},
    keyring::{Keyring, Place},
    script::{self, Call},
};

/// Expired keys that one call of the sweep forgets: well under a millisecond each hundred.
const SWEEP_BATCH: u64 = 500;

/// A tenant's entries.
#[derive(Clone, Debug)]
pub struct Store {
    connection: Connection,
    buckets: &'static [Bucket],
    /// 0: any number.
    max_keys: u64,
    keyring: Option<Keyring>,
    is_near: bool,
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
    /// As the entry has it; a new one never expires.
    Keep,
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

impl Ttl {
    /// As the scripts take it.
    fn milliseconds(self) -> String {
        match self {
            Self::Forever => "0".to_owned(),
            Self::Seconds(seconds) => seconds.saturating_mul(1000).to_string(),
            Self::Keep => "-1".to_owned(),
        }
    }
}

impl Store {
    pub fn new(connection: Connection) -> Self {
        let buckets = buckets(connection.cluster().is_some());
        Self { connection, buckets, max_keys: 0, keyring: None, is_near: false }
    }

    /// Refuses new keys where there are so many; 0: never.
    #[must_use]
    pub fn with_max_keys(self, max_keys: u64) -> Self {
        Self { max_keys, ..self }
    }

    /// Encrypts and decrypts values with these keys.
    #[must_use]
    pub fn with_keyring(self, keyring: Option<Keyring>) -> Self {
        Self { keyring, ..self }
    }

    /// Lets a replica answer reads of entries and lists, where there is one that is quick: what it gives may be a little older
    /// than what was written before.
    #[must_use]
    pub fn from_replica(self) -> Self {
        Self { is_near: self.connection.has_replicas(), ..self }
    }

    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let bytes: Option<Vec<u8>> = self.connection.read(cmd("GET").arg(self.entry(key))).await?;
        Ok(bytes.map(|bytes| self.decode(key, bytes)).transpose()?)
    }

    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        self.connection.read(cmd("EXISTS").arg(self.entry(key))).await
    }

    /// Milliseconds that the entry has left; the inner none: it never expires.
    pub async fn ttl(&self, key: &str) -> Result<Option<Option<u64>>, Error> {
        let left: i64 = self.connection.read(cmd("PTTL").arg(self.entry(key))).await?;
        Ok(match left {
            -2 => None,
            left => Some(u64::try_from(left).ok()),
        })
    }

    /// Writes a value if the condition holds.
    pub async fn put(&self, key: &str, put: &Put, condition: &Condition) -> Result<Outcome<Written>, Error> {
        let call = self.put_call(key, put, condition, self.most_keys().await?)?;
        let answer = self.connection.call(&call, Effect::Write).await;
        self.changed(key);
        let outcome = written(&answer?)?;
        if let Outcome::Done(written) = &outcome {
            self.has_written(written);
        }
        Ok(outcome)
    }

    /// Deletes a key; with [`Condition::Any`] it is refused only where there is none.
    pub async fn delete(&self, key: &str, condition: &Condition) -> Result<Outcome<()>, Error> {
        let answer = self.connection.call(&self.delete_call(key, condition), Effect::Write).await;
        self.changed(key);
        deleted(answer?)
    }

    /// How many keys there are, without those that have expired.
    pub async fn count(&self) -> Result<u64, Error> {
        let count = |bucket: &Bucket| Call::new(&script::COUNT, &[&bucket.index, &bucket.expiry]);
        Ok(self.in_each(count, Effect::Read).await?.into_iter().sum())
    }

    /// Forgets keys whose entries have expired, about `budget` of them at most; gives how many it forgot.
    pub async fn sweep(&self, budget: u64) -> Result<u64, Error> {
        let sweep = |bucket: &Bucket| {
            let mut call = Call::new(&script::SWEEP, &[&bucket.index, &bucket.expiry, &bucket.tags_of]);
            call.arg(&*bucket.tag_set).arg(SWEEP_BATCH);
            call
        };
        let mut swept = 0;
        loop {
            let forgotten = self.in_each(sweep, Effect::Write).await?;
            swept += forgotten.iter().sum::<u64>();
            if forgotten.iter().all(|forgotten| *forgotten < SWEEP_BATCH) || swept >= budget {
                return Ok(swept);
            }
        }
    }

    /// Calls a script in each bucket, and gives its numbers.
    async fn in_each(&self, call: impl Fn(&Bucket) -> Call, effect: Effect) -> Result<Vec<u64>, Error> {
        if let [bucket] = self.buckets {
            return Ok(vec![self.connection.call_as(&call(bucket), effect).await?]);
        }
        let calls: Vec<Call> = self.buckets.iter().map(call).collect();
        let answers = self.connection.call_all(calls, effect).await?;
        answers.into_iter().map(from_value).collect()
    }

    fn bucket(&self, key: &str) -> &'static Bucket {
        &self.buckets[place(key, self.buckets.len())]
    }

    /// The name of an entry in Redis.
    fn entry(&self, key: &str) -> String {
        [&self.bucket(key).entry, key].concat()
    }
}

impl Store {
    fn decode(&self, key: &str, bytes: Vec<u8>) -> Result<Entry, Corrupt> {
        Entry::decode(key, &bytes.into(), self.keyring.as_ref())
    }

    fn put_call(&self, key: &str, put: &Put, condition: &Condition, most: i64) -> Result<Call, Error> {
        let form = self.form(key, put)?;
        let (entry, bucket) = (self.entry(key), self.bucket(key));
        let around = 128 + key.len() + form.meta.len() + 64 * put.tags.len();
        let keys: [&[u8]; 4] = [entry.as_bytes(), &bucket.index, &bucket.expiry, &bucket.tags_of];
        let mut call = Call::sized(&script::WRITE, &keys, form.value.len() + around);
        call.arg(key).arg(word(condition)).arg(put.ttl.milliseconds()).arg(&form.meta);
        call.arg(&form.value[..]).arg(&*bucket.tag_set).arg(most).arg(form.flags).arg(put.tags.len());
        for (name, value) in &put.tags {
            call.arg(tag(name, value));
        }
        for number in matches(condition) {
            call.arg(number);
        }
        Ok(call)
    }

    fn delete_call(&self, key: &str, condition: &Condition) -> Call {
        let (entry, bucket) = (self.entry(key), self.bucket(key));
        let keys: [&[u8]; 4] = [entry.as_bytes(), &bucket.index, &bucket.expiry, &bucket.tags_of];
        let mut call = Call::new(&script::DELETE, &keys);
        call.arg(key).arg(word(condition)).arg(&*bucket.tag_set);
        for number in matches(condition) {
            call.arg(number);
        }
        call
    }

    /// What a value is in Redis.
    fn form<'a>(&self, key: &str, put: &'a Put) -> Result<Form<'a>, Error> {
        let meta = encode_meta(&put.content_type, &put.tags);
        let sealed = match &self.keyring {
            Some(keyring) => keyring.seal(Place::Entry { key, meta: &meta }, &put.value)?,
            None => None,
        };
        Ok(match sealed {
            Some(sealed) => Form { meta, flags: SEALED, value: sealed.into() },
            None => Form { meta, flags: 0, value: (&put.value[..]).into() },
        })
    }
}

/// A value as it is written: what the scripts take of it.
struct Form<'a> {
    meta: Vec<u8>,
    flags: u8,
    value: Cow<'a, [u8]>,
}

fn written(answer: &Value) -> Result<Outcome<Written>, Error> {
    match numbers(answer).as_deref().unwrap_or_default() {
        &[1, created_new, version, created, updated, expires] => Ok(Outcome::Done(Written {
            created_new: created_new == 1,
            version,
            created,
            updated,
            expires: (expires > 0).then_some(expires),
        })),
        [0, 2] => Err(Error::TooManyKeys),
        [0, exists] => Ok(Outcome::Refused { exists: *exists == 1 }),
        _ => Err(Error::Refused("an unexpected answer of write.lua".into())),
    }
}

/// The numbers of a text, with a blank between two: an array of them takes longer to read than all of the answer's work. In the
/// path of every write: read by hand.
fn numbers(answer: &Value) -> Option<Vec<u64>> {
    let Value::BulkString(text) = answer else { return None };
    let mut numbers = Vec::with_capacity(6);
    let mut number = None;
    for byte in text {
        number = match byte {
            b'0'..=b'9' => {
                Some(number.unwrap_or(0_u64).checked_mul(10)?.checked_add(u64::from(byte - b'0'))?)
            }
            b' ' => {
                numbers.push(number?);
                None
            }
            _ => return None,
        };
    }
    numbers.push(number?);
    Some(numbers)
}

fn deleted(answer: Value) -> Result<Outcome<()>, Error> {
    match Vec::<u64>::from_redis_value(answer).unwrap_or_default()[..] {
        [1] => Ok(Outcome::Done(())),
        [0, exists] => Ok(Outcome::Refused { exists: exists == 1 }),
        _ => Err(Error::Refused("an unexpected answer of delete.lua".into())),
    }
}

/// A tag as the scripts name it.
fn tag(name: &str, value: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0", value.as_bytes()].concat()
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
