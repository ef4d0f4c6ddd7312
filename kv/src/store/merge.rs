//! Lists of a store of many buckets: each gives its keys in byte order, and here they are merged. All buckets of a shard are
//! asked together, so that a list is a few round trips, wherever it begins.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use redis::{FromRedisValue as _, Value, cmd};

use super::{
    Filter, Listing, Select, Store,
    list::{ALL, Bounds, STRETCH_BYTES, Stretch, list_call, tagged_call},
};
use crate::{
    connection::from_value,
    entry::HEADER,
    error::{Effect, Error},
    script::Call,
};

/// Most keys that a bucket is asked for at once.
const MOST_KEYS: u64 = 200;
/// What a bucket is asked for beyond twice its share.
const SPARE_KEYS: u64 = 4;
/// So many keys before the place where a list begins are passed over one by one.
const NEAR: u64 = 1024;
/// How often a place nearer to that is looked for.
const APPROACHES: usize = 12;
/// Most entries that are read at once.
const ENTRIES: usize = 1000;
/// Bytes that hold the head of most entries.
const HEAD: usize = 256;

/// A bucket's keys behind those that were taken.
#[derive(Default)]
struct Source {
    waiting: VecDeque<String>,
    /// Where to go on.
    after: String,
    /// Whether there may be more than what waits.
    has_more: bool,
}

/// What a bucket has said.
struct Part {
    keys: Vec<String>,
    /// Keys that the filter lets through, in all; with tags those that were found now.
    total: u64,
    /// How many of them are at or before the place that was asked for; with tags nothing is known of that.
    before: u64,
    /// Where to go on; none: that is all.
    next: Option<String>,
}

/// Where a list begins that passes over many keys.
enum Approach {
    /// Not far behind this key; so many are at or before it.
    Near { after: String, before: u64 },
    /// Behind all keys.
    Behind { total: u64 },
}

struct Merge<'a> {
    store: &'a Store,
    filter: Filter<'a>,
    sources: Vec<Source>,
    /// The first of each that has any waiting.
    first: BinaryHeap<Reverse<(String, usize)>>,
    /// Those of which nothing waits, and more may come.
    dry: Vec<usize>,
    /// How many keys each is asked for.
    share: u64,
    /// Of all, as far as it is known.
    total: u64,
}

impl Store {
    pub(super) async fn merged<T>(
        &self,
        filter: Filter<'_>,
        select: Select<'_>,
        Bounds { limit, max_bytes, is_counted }: Bounds,
        with_values: bool,
        decode: impl Fn(&str, Vec<u8>) -> Result<T, Error>,
    ) -> Result<Listing<T>, Error> {
        let has_tags = !filter.tags.is_empty();
        let (after, mut skip) = match select {
            Select::After(key) => (key.to_owned(), 0),
            Select::Offset(skip) if has_tags => (String::new(), skip),
            Select::Offset(skip) => match self.approach(filter, skip).await? {
                Approach::Near { after, before } => (after, skip - before),
                Approach::Behind { total } => return Ok(Listing { total, ..Listing::default() }),
            },
        };
        let counted = if has_tags && is_counted { self.count_tagged(filter).await? } else { 0 };
        let mut merge = Merge::begin(self, filter, &after, skip.saturating_add(limit)).await?;
        let mut listing =
            Listing { total: if has_tags { counted } else { merge.total }, ..Listing::default() };
        while skip > 0 && merge.next().await?.is_some() {
            skip -= 1;
        }
        let (mut left, mut size) = (usize::try_from(limit).unwrap_or(usize::MAX), 0);
        // Keys that were taken and not yet read, and the one that was read last.
        let mut waiting = VecDeque::new();
        let mut last = None;
        while left > 0 && size < max_bytes {
            while waiting.len() < left.min(ENTRIES) {
                let Some(key) = merge.next().await? else { break };
                waiting.push_back(key);
            }
            if waiting.is_empty() {
                return Ok(listing);
            }
            let mut count = waiting.len();
            if with_values {
                count = self.fitting(&waiting, STRETCH_BYTES.min(max_bytes - size)).await?;
            }
            left -= count;
            let keys: Vec<String> = waiting.drain(..count).collect();
            let found = if with_values { self.values(&keys).await? } else { self.heads_of(&keys).await? };
            for (key, bytes) in keys.into_iter().zip(found) {
                // Without bytes it has expired since the sweep.
                if !bytes.is_empty() {
                    size += bytes.len() as u64;
                    let item = decode(&key, bytes)?;
                    listing.items.push((key.clone(), item));
                }
                last = Some(key);
            }
        }
        if !waiting.is_empty() || merge.has_next().await? {
            listing.next_after = last;
        }
        Ok(listing)
    }

    /// How many of these entries have no more bytes than this together: one at least.
    async fn fitting(&self, keys: &VecDeque<String>, most: u64) -> Result<usize, Error> {
        let mut questions = redis::pipe();
        for key in keys {
            questions.add_command(cmd("STRLEN").arg(self.entry(key)).clone());
        }
        let answers = self.connection.pipeline(&questions, Vec::new(), Effect::Read).await?;
        let mut left = most;
        let mut fit = 0;
        for answer in answers {
            let length: u64 = from_value(answer?)?;
            let Some(rest) = left.checked_sub(length) else { break };
            left = rest;
            fit += 1;
        }
        Ok(fit.max(1))
    }

    /// Looks for a key that is not far before the place where so many have gone by.
    async fn approach(&self, filter: Filter<'_>, skip: u64) -> Result<Approach, Error> {
        let (mut after, mut passed) = (String::new(), 0);
        if skip <= NEAR {
            return Ok(Approach::Near { after, before: passed });
        }
        let mut parts = self.parts(filter, self.all_after("", 1)).await?;
        let total = parts.iter().map(|part| part.total).sum();
        if skip >= total {
            return Ok(Approach::Behind { total });
        }
        // Of the keys that the buckets have about there, one is taken that is surely before: about a third of the way.
        let mut share = 3;
        for _ in 0..APPROACHES {
            let left = skip - passed;
            let rest: u64 = parts.iter().map(|part| part.total - part.before).sum();
            if left <= NEAR || left >= rest {
                break;
            }
            let steps = parts.iter().enumerate().map(|(bucket, part)| {
                let own = u128::from(part.total - part.before) * u128::from(left) / u128::from(rest);
                let at = part.before + u64::try_from(own).unwrap_or(0);
                (bucket, "offset", at.to_string(), 1)
            });
            let steps: Vec<_> = steps.collect();
            let seen = self.parts(filter, steps).await?;
            let mut seen: Vec<String> = seen.into_iter().flat_map(|part| part.keys).collect();
            seen.sort_unstable();
            let Some(pivot) = seen.get(seen.len() / share).filter(|pivot| **pivot > after) else { break };
            let there = self.parts(filter, self.all_after(pivot, 1)).await?;
            let before: u64 = there.iter().map(|part| part.before).sum();
            if before <= skip {
                (after, passed, parts) = (pivot.clone(), before, there);
            } else {
                share *= 2;
            }
        }
        Ok(Approach::Near { after, before: passed })
    }

    fn all_after(&self, key: &str, limit: u64) -> Vec<(usize, &'static str, String, u64)> {
        (0..self.buckets.len()).map(|bucket| (bucket, "after", key.to_owned(), limit)).collect()
    }

    async fn count_tagged(&self, filter: Filter<'_>) -> Result<u64, Error> {
        let mut total = 0;
        let mut open: Vec<(usize, String)> = (0..self.buckets.len()).map(|it| (it, String::new())).collect();
        while !open.is_empty() {
            let call = |(bucket, after): &(usize, String)| {
                tagged_call(&self.buckets[*bucket], filter, after, ALL, "count", STRETCH_BYTES)
            };
            let answers = self.connection.call_all(open.iter().map(call).collect(), Effect::Read).await?;
            let mut next = Vec::new();
            for ((bucket, _), answer) in open.into_iter().zip(answers) {
                let part = part(from_value(answer)?, true)?;
                total += part.total;
                next.extend(part.next.map(|after| (bucket, after)));
            }
            open = next;
        }
        Ok(total)
    }

    /// Asks buckets for keys: which one, `offset` or `after` and from where, and how many.
    async fn parts(
        &self,
        filter: Filter<'_>,
        questions: Vec<(usize, &'static str, String, u64)>,
    ) -> Result<Vec<Part>, Error> {
        let has_tags = !filter.tags.is_empty();
        let call = |(bucket, how, from, limit): (usize, &str, String, u64)| -> Call {
            let bucket = &self.buckets[bucket];
            if has_tags {
                tagged_call(bucket, filter, &from, limit, "key", STRETCH_BYTES)
            } else {
                list_call(bucket, filter.prefix, how, &from, limit, "key", STRETCH_BYTES)
            }
        };
        let calls = questions.into_iter().map(call).collect();
        let answers = self.connection.call_all(calls, Effect::Read).await?;
        answers.into_iter().map(|answer| part(from_value(answer)?, has_tags)).collect()
    }

    async fn values(&self, keys: &[String]) -> Result<Vec<Vec<u8>>, Error> {
        let mut reads = redis::pipe();
        for key in keys {
            reads.add_command(cmd("GET").arg(self.entry(key)).clone());
        }
        self.bytes(&reads).await
    }

    /// At least header and meta of each, and the 8 bytes behind them.
    async fn heads_of(&self, keys: &[String]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |key: &String, bytes: usize| {
            let mut read = cmd("GETRANGE");
            read.arg(self.entry(key)).arg(0).arg(bytes - 1);
            read
        };
        let mut reads = redis::pipe();
        for key in keys {
            reads.add_command(read(key, HEAD));
        }
        let mut heads = self.bytes(&reads).await?;
        let short: Vec<(usize, usize)> = heads
            .iter()
            .enumerate()
            .filter_map(|(place, head)| {
                let length = head.get(HEADER - 4..HEADER)?.try_into().ok().map(u32::from_be_bytes)?;
                let needed = HEADER + 8 + usize::try_from(length).ok()?;
                (needed > HEAD).then_some((place, needed))
            })
            .collect();
        if !short.is_empty() {
            let mut reads = redis::pipe();
            for (place, needed) in &short {
                reads.add_command(read(&keys[*place], *needed));
            }
            for ((place, _), head) in short.into_iter().zip(self.bytes(&reads).await?) {
                heads[place] = head;
            }
        }
        Ok(heads)
    }

    async fn bytes(&self, reads: &redis::Pipeline) -> Result<Vec<Vec<u8>>, Error> {
        let answers = self.connection.pipeline(reads, Vec::new(), Effect::Read).await?;
        let bytes = |answer: Result<Value, Error>| match answer? {
            Value::Nil => Ok(Vec::new()),
            answer => Vec::<u8>::from_redis_value(answer).map_err(|_| unexpected()),
        };
        answers.into_iter().map(bytes).collect()
    }
}

impl<'a> Merge<'a> {
    /// Behind a key, for one who will take about so many.
    async fn begin(store: &'a Store, filter: Filter<'a>, after: &str, wanted: u64) -> Result<Self, Error> {
        let buckets = store.buckets.len();
        let share = (wanted.saturating_mul(2) / buckets as u64).saturating_add(SPARE_KEYS).min(MOST_KEYS);
        let source = || Source { after: after.to_owned(), has_more: true, ..Source::default() };
        let mut merge = Self {
            store,
            filter,
            sources: (0..buckets).map(|_| source()).collect(),
            first: BinaryHeap::new(),
            dry: (0..buckets).collect(),
            share,
            total: 0,
        };
        merge.total = merge.fill().await?;
        Ok(merge)
    }

    /// The next key in byte order.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        while !self.dry.is_empty() {
            self.fill().await?;
        }
        let Some(Reverse((key, bucket))) = self.first.pop() else { return Ok(None) };
        self.advance(bucket);
        Ok(Some(key))
    }

    async fn has_next(&mut self) -> Result<bool, Error> {
        while self.first.is_empty() && !self.dry.is_empty() {
            self.fill().await?;
        }
        Ok(!self.first.is_empty())
    }

    /// Asks all of which nothing waits; gives what they say of how many there are.
    async fn fill(&mut self) -> Result<u64, Error> {
        let dry = std::mem::take(&mut self.dry);
        let question = |bucket: &usize| (*bucket, "after", self.sources[*bucket].after.clone(), self.share);
        let parts = self.store.parts(self.filter, dry.iter().map(question).collect()).await?;
        let mut total = 0;
        for (bucket, part) in dry.into_iter().zip(parts) {
            total += part.total;
            let source = &mut self.sources[bucket];
            source.has_more = part.next.is_some();
            source.after = part.next.unwrap_or_default();
            source.waiting = part.keys.into();
            self.advance(bucket);
        }
        Ok(total)
    }

    fn advance(&mut self, bucket: usize) {
        let source = &mut self.sources[bucket];
        match source.waiting.pop_front() {
            Some(key) => self.first.push(Reverse((key, bucket))),
            None if source.has_more => self.dry.push(bucket),
            None => {}
        }
    }
}

fn part(answer: Vec<Value>, has_tags: bool) -> Result<Part, Error> {
    let Stretch { keys, first, second } = Stretch::of(answer)?;
    let keys: Vec<String> = keys.into_iter().map(|(key, _)| key).collect();
    match (has_tags, first, second) {
        (true, Value::BulkString(last), Value::Int(found)) => {
            let last = String::from_utf8(last).map_err(|_| unexpected())?;
            let next = Some(last).filter(|last| !last.is_empty());
            Ok(Part { keys, total: found.unsigned_abs(), before: 0, next })
        }
        (false, Value::Int(total), Value::Int(rank)) => {
            let (total, count) = (total.unsigned_abs(), keys.len() as u64);
            let end = u64::try_from(rank).unwrap_or(total);
            let next = keys.last().filter(|_| rank >= 0).cloned();
            Ok(Part { keys, total, before: end.saturating_sub(count), next })
        }
        _ => Err(unexpected()),
    }
}

fn unexpected() -> Error {
    Error::Refused("an unexpected answer of a list".into())
}
