//! Changes of what is there: numbers, and how long an entry lives.

use std::collections::BTreeMap;

use super::{EXPIRY, INDEX, Store, TAG_SET, TAGS_OF, Ttl, Written, entry};
use crate::{
    connection::Call,
    entry::{JSON, encode_meta},
    error::{Effect, Error},
    script,
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

impl Store {
    /// Adds to a whole number; a key that is not there counts as 0 and is made with this time to live.
    pub async fn increment(
        &self,
        key: &str,
        by: i64,
        ttl: Ttl,
    ) -> Result<Result<Incremented, NotIncremented>, Error> {
        let mut call = Call::new(&script::INCREMENT, &[entry(key).as_bytes(), INDEX, EXPIRY, TAGS_OF]);
        call.arg(key)
            .arg(by)
            .arg(ttl.milliseconds())
            .arg(encode_meta(JSON, &BTreeMap::new()))
            .arg(TAG_SET)
            .arg(self.max_keys);
        let answer = self.connection.call_as::<Vec<i64>>(&call, Effect::Write).await;
        self.changed(key);
        let positive = i64::unsigned_abs;
        match answer?[..] {
            [1, created_new, version, created, updated, expires, value] => Ok(Ok(Incremented {
                value,
                written: Written {
                    created_new: created_new == 1,
                    version: positive(version),
                    created: positive(created),
                    updated: positive(updated),
                    expires: (expires > 0).then_some(positive(expires)),
                },
            })),
            [0, 1] => Ok(Err(NotIncremented::NotANumber)),
            [0, 2] => Ok(Err(NotIncremented::TooLarge)),
            [0, 3] => Err(Error::TooManyKeys),
            _ => Err(Error::Refused("an unexpected answer of increment.lua".into())),
        }
    }

    /// Gives an entry another time to live; whether there is such an entry.
    pub async fn set_ttl(&self, key: &str, ttl: Ttl) -> Result<bool, Error> {
        let mut call = Call::new(&script::SET_TTL, &[entry(key).as_bytes(), INDEX, EXPIRY]);
        call.arg(key).arg(ttl.milliseconds());
        let answer = self.connection.call_as(&call, Effect::Write).await;
        self.changed(key);
        answer
    }
}
