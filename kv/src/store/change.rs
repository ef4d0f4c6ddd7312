//! Changes of what is there: numbers, and how long an entry lives.

use std::collections::BTreeMap;

use super::{Condition, Outcome, Put, Store, Ttl, Written};
use crate::{
    entry::{Corrupt, JSON, encode_meta},
    error::{Effect, Error},
    keyring::Keyring,
    script::{self, Call},
};

/// A number after something was added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incremented {
    pub value: i64,
    pub written: Written,
}

/// Why nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIncremented {
    #[error("the value is no whole number: PUT one first")]
    NotANumber,
    /// RFC 8259, section 6: beyond this, readers of JSON disagree about a number.
    #[error("the sum would be beyond ±9007199254740991, where JSON numbers are no longer exact")]
    TooLarge,
}

/// Largest number, of either sign, of which JSON's readers agree (RFC 8259, section 6).
pub const LARGEST_NUMBER: i64 = 9_007_199_254_740_991;
/// How often a write is tried that others get in the way of.
const ATTEMPTS: u32 = 50;

impl Store {
    /// Adds to a whole number; a key that is not there counts as 0 and is made with this time to live.
    pub async fn increment(
        &self,
        key: &str,
        by: i64,
        ttl: Ttl,
    ) -> Result<Result<Incremented, NotIncremented>, Error> {
        if let Some(keyring) = &self.keyring {
            return self.increment_here(keyring, key, by, ttl).await;
        }
        let (entry, bucket) = (self.entry(key), self.bucket(key));
        let keys: [&[u8]; 4] = [entry.as_bytes(), &bucket.index, &bucket.expiry, &bucket.tags_of];
        let mut call = Call::new(&script::INCREMENT, &keys);
        call.arg(key)
            .arg(by)
            .arg(ttl.milliseconds())
            .arg(encode_meta(JSON, &BTreeMap::new()))
            .arg(&*bucket.tag_set)
            .arg(self.most_keys().await?);
        let answer = self.connection.call_as::<Vec<i64>>(&call, Effect::Write).await;
        self.changed(key);
        let positive = i64::unsigned_abs;
        match answer?[..] {
            [1, created_new, version, created, updated, expires, value] => {
                let written = Written {
                    created_new: created_new == 1,
                    version: positive(version),
                    created: positive(created),
                    updated: positive(updated),
                    expires: (expires > 0).then_some(positive(expires)),
                };
                self.has_written(&written);
                Ok(Ok(Incremented { value, written }))
            }
            [0, 1] => Ok(Err(NotIncremented::NotANumber)),
            [0, 2] => Ok(Err(NotIncremented::TooLarge)),
            [0, 3] => Err(Error::TooManyKeys),
            [0, 4] => Err(Corrupt::UnknownKey.into()),
            _ => Err(Error::Refused("an unexpected answer of increment.lua".into())),
        }
    }

    /// The same where Redis cannot read the value: by a write on the condition that nobody else has written meanwhile. Those
    /// of this process queue for it, so that only other processes can come in between.
    async fn increment_here(
        &self,
        keyring: &Keyring,
        key: &str,
        by: i64,
        ttl: Ttl,
    ) -> Result<Result<Incremented, NotIncremented>, Error> {
        let _turn = keyring.turn(key).await;
        for _ in 0..ATTEMPTS {
            let entry = self.get(key).await?;
            let (old, put_ttl, condition) = match &entry {
                Some(entry) => {
                    let Some(number) = whole_number(&entry.value) else {
                        return Ok(Err(NotIncremented::NotANumber));
                    };
                    (number, Ttl::Keep, Condition::Matches(vec![entry.metadata.entity_tag()]))
                }
                None => (Some(0), ttl, Condition::Absent),
            };
            let sum = old.and_then(|old| old.checked_add(by)).filter(|sum| sum.abs() <= LARGEST_NUMBER);
            let Some(sum) = sum else { return Ok(Err(NotIncremented::TooLarge)) };
            let (content_type, tags) = entry.map_or_else(
                || (JSON.to_owned(), BTreeMap::new()),
                |entry| (entry.metadata.content_type, entry.metadata.tags),
            );
            let put = Put { value: sum.to_string().into(), content_type, tags, ttl: put_ttl };
            if let Outcome::Done(written) = self.put(key, &put, &condition).await? {
                return Ok(Ok(Incremented { value: sum, written }));
            }
        }
        Err(Error::Contended)
    }

    /// Gives an entry another time to live; whether there is such an entry.
    pub async fn set_ttl(&self, key: &str, ttl: Ttl) -> Result<bool, Error> {
        let bucket = self.bucket(key);
        let mut call =
            Call::new(&script::SET_TTL, &[self.entry(key).as_bytes(), &bucket.index, &bucket.expiry]);
        call.arg(key).arg(ttl.milliseconds());
        let answer = self.connection.call_as(&call, Effect::Write).await;
        self.changed(key);
        answer
    }
}

/// None where it is no whole number; the inner none where it is too large for one. As in increment.lua.
fn whole_number(value: &[u8]) -> Option<Option<i64>> {
    let text = str::from_utf8(value).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_exact = |number: &i64| number.abs() <= LARGEST_NUMBER;
    is_number.then(|| if text.len() > 17 { None } else { text.parse().ok().filter(is_exact) })
}
