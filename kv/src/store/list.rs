//! Lists, from the indexes: a stretch of the keys, wherever it is, costs the same. This is a store of one bucket; `merge` has
//! many.

use redis::Value;

use super::{Store, bucket::Bucket, tag};
use crate::{
    entry::{Corrupt, Entry, Metadata, decode_head},
    error::{Effect, Error},
    script::{self, Call},
};

/// Most entries that one script call gives, so that no call holds Redis up.
const STRETCH: u64 = 200;
/// Most keys that one script call looks at where tags are compared.
pub(super) const LOOKED_AT: u64 = 500;
/// Where one script call ends early, in bytes of entries.
pub(super) const STRETCH_BYTES: u64 = 4 * 1024 * 1024;
/// Expired keys that are forgotten before a list counts.
const SWEPT_BEFORE_LIST: u64 = 20_000;
pub(super) const ALL: u64 = u32::MAX as u64;

/// Which keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Empty: all keys.
    pub prefix: &'a str,
    /// Names and values of tags; a key has all of them.
    pub tags: &'a [(String, String)],
}

/// What of a list is given: entries at most and their bytes, and whether `total` is counted where that costs something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) limit: u64,
    pub(super) max_bytes: u64,
    pub(super) is_counted: bool,
}

impl<'a> Filter<'a> {
    pub fn with_prefix(prefix: &'a str) -> Self {
        Self { prefix, tags: &[] }
    }
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
    /// Keys that the filter lets through, in all.
    pub total: u64,
    /// The last key of the stretch, where more follow.
    pub next_after: Option<String>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), total: 0, next_after: None }
    }
}

/// What one call of a script gave.
pub(super) struct Stretch {
    /// Also those that expired meanwhile, whose bytes are empty.
    pub(super) keys: Vec<(String, Vec<u8>)>,
    pub(super) first: Value,
    pub(super) second: Value,
}

impl Store {
    /// Keys and what is known of them, in byte order. Expired keys are swept first, so that `total` and the places are
    /// exact.
    pub async fn list(
        &self,
        filter: Filter<'_>,
        select: Select<'_>,
        limit: u64,
    ) -> Result<Listing<Metadata>, Error> {
        self.sweep_before_list().await?;
        self.heads(filter, select, Bounds { limit, max_bytes: u64::MAX, is_counted: true }).await
    }

    /// As [`Self::list`], with the values: fewer than the limit where they hold `max_bytes`.
    pub async fn list_values(
        &self,
        filter: Filter<'_>,
        select: Select<'_>,
        limit: u64,
        max_bytes: u64,
    ) -> Result<Listing<Entry>, Error> {
        self.sweep_before_list().await?;
        self.entries(filter, select, Bounds { limit, max_bytes, is_counted: true }).await
    }

    /// As [`Self::list`], for one who goes through all of them: without a sweep, and with tags without `total`.
    pub async fn scan_keys(
        &self,
        filter: Filter<'_>,
        after: &str,
        limit: u64,
    ) -> Result<Listing<Metadata>, Error> {
        let bounds = Bounds { limit, max_bytes: u64::MAX, is_counted: false };
        self.heads(filter, Select::After(after), bounds).await
    }

    /// As [`Self::scan_keys`], with the values: fewer than the limit where they hold `max_bytes`.
    pub async fn scan(
        &self,
        filter: Filter<'_>,
        after: &str,
        limit: u64,
        max_bytes: u64,
    ) -> Result<Listing<Entry>, Error> {
        self.entries(filter, Select::After(after), Bounds { limit, max_bytes, is_counted: false }).await
    }

    /// A list of a replica must not wait for the primary: it counts what has just expired, and what has is swept meanwhile. Of
    /// several shards the primaries give it.
    async fn sweep_before_list(&self) -> Result<(), Error> {
        if !self.is_near || self.connection.has_shards() {
            self.sweep(SWEPT_BEFORE_LIST).await?;
        } else if !self.connection.is_given_up() {
            let store = Self { is_near: false, ..self.clone() };
            // Whatever comes of it: the next list does so again.
            tokio::spawn(async move { store.sweep(SWEPT_BEFORE_LIST).await });
        }
        Ok(())
    }

    async fn heads(
        &self,
        filter: Filter<'_>,
        select: Select<'_>,
        bounds: Bounds,
    ) -> Result<Listing<Metadata>, Error> {
        let decode = |_: &str, bytes: Vec<u8>| Ok(decode_head(&bytes)?.0);
        self.stretches(filter, select, bounds, "head", decode).await
    }

    async fn entries(
        &self,
        filter: Filter<'_>,
        select: Select<'_>,
        bounds: Bounds,
    ) -> Result<Listing<Entry>, Error> {
        let decode = |key: &str, bytes: Vec<u8>| Ok(self.decode(key, bytes)?);
        self.stretches(filter, select, bounds, "value", decode).await
    }

    pub(super) async fn stretches<T>(
        &self,
        filter: Filter<'_>,
        select: Select<'_>,
        bounds: Bounds,
        what: &str,
        decode: impl Fn(&str, Vec<u8>) -> Result<T, Error>,
    ) -> Result<Listing<T>, Error> {
        match self.buckets {
            [bucket] if filter.tags.is_empty() => {
                self.untagged(bucket, filter.prefix, select, bounds, what, decode).await
            }
            [bucket] => self.tagged(bucket, filter, select, bounds, what, decode).await,
            _ => self.merged(filter, select, bounds, what == "value", decode).await,
        }
    }

    async fn untagged<T>(
        &self,
        bucket: &Bucket,
        prefix: &str,
        select: Select<'_>,
        Bounds { limit, max_bytes, .. }: Bounds,
        what: &str,
        decode: impl Fn(&str, Vec<u8>) -> Result<T, Error>,
    ) -> Result<Listing<T>, Error> {
        let mut listing = Listing::default();
        let (mut how, mut from) = match select {
            Select::Offset(skip) => ("offset", skip.to_string()),
            Select::After(key) => ("after", key.to_owned()),
        };
        let (mut left, mut size) = (limit, 0);
        while left > 0 && size < max_bytes {
            let stretch = left.min(STRETCH);
            let bytes = STRETCH_BYTES.min(max_bytes - size);
            let call = list_call(bucket, prefix, how, &from, stretch, what, bytes);
            let Stretch { keys, first: Value::Int(total), second: Value::Int(next) } =
                self.stretch(&call).await?
            else {
                return Err(Error::Refused("an unexpected answer of list.lua".into()));
            };
            listing.total = total.unsigned_abs();
            left -= stretch.min(keys.len() as u64);
            let last = keys.last().map(|(key, _)| key.clone());
            size += take(&mut listing, keys, &decode)?;
            listing.next_after = last.clone().filter(|_| next >= 0);
            match last {
                Some(key) if next >= 0 => (how, from) = ("after", key),
                _ => break,
            }
        }
        Ok(listing)
    }

    async fn tagged<T>(
        &self,
        bucket: &Bucket,
        filter: Filter<'_>,
        select: Select<'_>,
        Bounds { limit, max_bytes, is_counted }: Bounds,
        what: &str,
        decode: impl Fn(&str, Vec<u8>) -> Result<T, Error>,
    ) -> Result<Listing<T>, Error> {
        let part = async |after: &str, wanted: u64, what: &str| {
            let call = tagged_call(bucket, filter, after, wanted, what, STRETCH_BYTES.min(max_bytes));
            let Stretch { keys, first: Value::BulkString(last), second: Value::Int(found) } =
                self.stretch(&call).await?
            else {
                return Err(Error::Refused("an unexpected answer of list_tagged.lua".into()));
            };
            let last = String::from_utf8(last).map_err(|_| Corrupt::Malformed)?;
            Ok::<_, Error>((keys, Some(last).filter(|last| !last.is_empty()), found.unsigned_abs()))
        };

        let mut listing = Listing::default();
        let (mut skip, mut after) = match select {
            Select::Offset(skip) => (skip, String::new()),
            Select::After(key) => (0, key.to_owned()),
        };
        // All are counted, and on the way the place is found where the list begins.
        let mut at = String::new();
        while is_counted || skip > 0 {
            let wanted = if skip > 0 { skip } else { ALL };
            let (_, last, found) = part(&at, wanted, "count").await?;
            listing.total += found;
            let Some(last) = last else { break };
            if skip > 0 {
                skip -= found;
                after.clone_from(&last);
            }
            at = last;
        }
        if skip > 0 {
            return Ok(listing);
        }
        let (mut left, mut size) = (limit, 0);
        while left > 0 && size < max_bytes {
            let (keys, last, found) = part(&after, left.min(STRETCH), what).await?;
            left -= found;
            size += take(&mut listing, keys, &decode)?;
            let Some(last) = last else { return Ok(listing) };
            after = last;
        }
        at.clone_from(&after);
        loop {
            let (_, last, found) = part(&at, 1, "count").await?;
            if found > 0 {
                listing.next_after = Some(after);
                return Ok(listing);
            }
            let Some(last) = last else { return Ok(listing) };
            at = last;
        }
    }

    async fn stretch(&self, call: &Call) -> Result<Stretch, Error> {
        let answer: Vec<Value> = if self.is_near {
            self.connection.call_near(call).await?
        } else {
            self.connection.call_as(call, Effect::Read).await?
        };
        Stretch::of(answer)
    }
}

impl Stretch {
    pub(super) fn of(answer: Vec<Value>) -> Result<Self, Error> {
        let unexpected = || Error::Refused("an unexpected answer of a list".into());
        let mut answer = answer.into_iter();
        let (Some(first), Some(second)) = (answer.next(), answer.next()) else { return Err(unexpected()) };
        let mut keys = Vec::with_capacity(answer.len() / 2);
        while let (Some(Value::BulkString(key)), Some(Value::BulkString(bytes))) =
            (answer.next(), answer.next())
        {
            keys.push((String::from_utf8(key).map_err(|_| Corrupt::Malformed)?, bytes));
        }
        Ok(Self { keys, first, second })
    }
}

/// `how` and `from`: `offset` and how many to skip, or `after` and the key to go on behind.
pub(super) fn list_call(
    bucket: &Bucket,
    prefix: &str,
    how: &str,
    from: &str,
    limit: u64,
    what: &str,
    bytes: u64,
) -> Call {
    let mut call = Call::new(&script::LIST, &[&bucket.index]);
    call.arg(&*bucket.entry).arg(prefix).arg(how).arg(from).arg(limit).arg(what).arg(bytes);
    call
}

pub(super) fn tagged_call(
    bucket: &Bucket,
    filter: Filter<'_>,
    after: &str,
    wanted: u64,
    what: &str,
    bytes: u64,
) -> Call {
    let set = |(name, value): &(String, String)| [&*bucket.tag_set, &tag(name, value)].concat();
    let sets: Vec<Vec<u8>> = filter.tags.iter().map(set).collect();
    let sets: Vec<&[u8]> = sets.iter().map(Vec::as_slice).collect();
    let mut call = Call::new(&script::LIST_TAGGED, &sets);
    call.arg(&*bucket.entry).arg(filter.prefix).arg(after).arg(LOOKED_AT).arg(wanted).arg(what);
    call.arg(bytes).arg(sets.len());
    call
}

/// Adds what a call gave; gives how many bytes.
fn take<T>(
    listing: &mut Listing<T>,
    keys: Vec<(String, Vec<u8>)>,
    decode: impl Fn(&str, Vec<u8>) -> Result<T, Error>,
) -> Result<u64, Error> {
    let mut size = 0;
    for (key, bytes) in keys {
        // Without bytes it has expired since the sweep.
        if !bytes.is_empty() {
            size += bytes.len() as u64;
            let item = decode(&key, bytes)?;
            listing.items.push((key, item));
        }
    }
    Ok(size)
}
