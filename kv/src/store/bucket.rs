//! Where a store keeps its keys: in one bucket, or in many where the tenant's Redis is a cluster.
//!
//! A bucket is what one script may touch: entries, their indexes and tag sets, with one hash tag and so in one slot.

use std::{borrow::Cow, sync::LazyLock};

use keystead_usage::{Index, hash, tags};

/// The names of what one bucket has in Redis.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// All keys: a sorted set in byte order.
    pub(super) index: Cow<'static, [u8]>,
    /// Keys by when they expire.
    pub(super) expiry: Cow<'static, [u8]>,
    /// Keys with their tags.
    pub(super) tags_of: Cow<'static, [u8]>,
    /// What the set of a tag's keys begins with.
    pub(super) tag_set: Cow<'static, [u8]>,
    /// What an entry's name begins with.
    pub(super) entry: Cow<'static, str>,
    /// What a remembered request's name begins with.
    pub(crate) request: Cow<'static, str>,
}

static WHOLE: [Bucket; 1] = [Bucket {
    index: Cow::Borrowed(b"kv:{0}:i"),
    expiry: Cow::Borrowed(b"kv:{0}:x"),
    tags_of: Cow::Borrowed(b"kv:{0}:m"),
    tag_set: Cow::Borrowed(b"kv:{0}:t:"),
    entry: Cow::Borrowed("kv:{0}:e:"),
    request: Cow::Borrowed("kv:{0}:q:"),
}];

static PARTS: LazyLock<Vec<Bucket>> = LazyLock::new(|| tags().iter().map(|tag| Bucket::of(tag)).collect());

impl Bucket {
    fn of(tag: &str) -> Self {
        let name = |rest: &str| format!("kv:{{{tag}}}:{rest}");
        let Index { keys, expiry } = Index::of(tag);
        Self {
            index: keys.into_bytes().into(),
            expiry: expiry.into_bytes().into(),
            tags_of: name("m").into_bytes().into(),
            tag_set: name("t:").into_bytes().into(),
            entry: name("e:").into(),
            request: name("q:").into(),
        }
    }
}

/// All buckets of a store.
pub(crate) fn buckets(is_cluster: bool) -> &'static [Bucket] {
    if is_cluster { &PARTS } else { &WHOLE }
}

/// The place of a key among so many buckets.
pub(crate) fn place(key: &str, buckets: usize) -> usize {
    if buckets == 1 { 0 } else { usize::from(hash(key.as_bytes())) % buckets }
}

#[cfg(test)]
mod tests {
    use keystead_usage::slot;

    use super::*;

    #[test]
    fn every_bucket_is_in_its_share_of_the_slots() {
        let buckets = buckets(true);
        assert_eq!(buckets.len(), 256);
        for (place, bucket) in buckets.iter().enumerate() {
            for name in [&bucket.index, &bucket.expiry, &bucket.tags_of, &bucket.tag_set] {
                assert_eq!(usize::from(slot(name)) / 64, place, "{bucket:?}");
            }
            assert_eq!(slot(bucket.entry.as_bytes()), slot(&bucket.index));
            assert_eq!(
                slot(format!("{}{{7}}", bucket.entry).as_bytes()),
                slot(&bucket.index),
                "a key with braces"
            );
        }
        // Data is found by these names for ever.
        assert_eq!(buckets[0].entry, "kv:{460}:e:");
        assert_eq!(buckets[255].entry, "kv:{430}:e:");
    }

    #[test]
    fn keys_spread_over_the_buckets() {
        let mut counts = [0; 256];
        (0..25_600).for_each(|number| counts[place(&format!("user/{number}"), 256)] += 1);
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
        assert_eq!((place("123456789", 256), place("any", 1)), (0x31c3 % 256, 0));
    }
}
