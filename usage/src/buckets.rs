//! How many entries there are, by the indexes of the buckets that hold them.

use std::sync::LazyLock;

use redis::{ParsingError, Pipeline, Value, from_redis_value_ref};

use crate::{SLOTS, slot};

/// Buckets of a cluster. They stay as they are however many shards there are; slots with them move from shard to shard.
pub const BUCKETS: u16 = 256;

/// The keys by which the entries of one bucket are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// All keys: a sorted set.
    pub keys: String,
    /// Keys by when they expire, in milliseconds: a sorted set.
    pub expiry: String,
}

impl Index {
    /// Of the bucket with this hash tag.
    pub fn of(tag: &str) -> Self {
        Self { keys: format!("kv:{{{tag}}}:i"), expiry: format!("kv:{{{tag}}}:x") }
    }

    /// Asks how many keys there are, and how many of them have expired and are not swept yet.
    pub fn ask(&self, questions: &mut Pipeline, now_ms: u64) {
        questions.cmd("ZCARD").arg(&self.keys);
        questions.cmd("ZCOUNT").arg(&self.expiry).arg("-inf").arg(now_ms);
    }

    /// Of the two answers to that: how many there are that have not expired, and how many that have.
    pub fn count(answers: &[Value]) -> Result<(u64, u64), ParsingError> {
        let [all, expired] = answers else {
            return Err("two answers were expected".to_owned().into());
        };
        let (all, expired): (u64, u64) = (from_redis_value_ref(all)?, from_redis_value_ref(expired)?);
        Ok((all.saturating_sub(expired), expired))
    }
}

/// The indexes of all buckets of a store.
pub fn indexes(is_cluster: bool) -> &'static [Index] {
    static WHOLE: LazyLock<Vec<Index>> = LazyLock::new(|| vec![Index::of("0")]);
    static PARTS: LazyLock<Vec<Index>> = LazyLock::new(|| tags().iter().map(|tag| Index::of(tag)).collect());
    if is_cluster { &PARTS } else { &WHOLE }
}

/// By bucket its hash tag: the smallest number whose slot is in the bucket's share of the slots, so that shards which have equally
/// many slots, in stretches of any length, have equally many buckets.
pub fn tags() -> Vec<String> {
    let share = SLOTS / BUCKETS;
    let mut tags = vec![None; usize::from(BUCKETS)];
    let mut missing = tags.len();
    for number in 0_u32.. {
        let tag = number.to_string();
        let place = &mut tags[usize::from(slot(tag.as_bytes()) / share)];
        if place.is_none() {
            *place = Some(tag);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    tags.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indexes_of_a_cluster_are_those_of_its_buckets() {
        assert_eq!(indexes(false), [Index { keys: "kv:{0}:i".into(), expiry: "kv:{0}:x".into() }]);
        assert_eq!(indexes(true).len(), usize::from(BUCKETS));
        assert_eq!(
            (indexes(true)[0].keys.as_str(), indexes(true)[255].keys.as_str()),
            ("kv:{460}:i", "kv:{430}:i")
        );
    }

    #[test]
    fn what_has_expired_is_counted_by_itself() {
        assert_eq!(Index::count(&[Value::Int(7), Value::Int(2)]).unwrap(), (5, 2));
        assert!(Index::count(&[Value::Int(7)]).is_err());
        assert!(Index::count(&[Value::Nil, Value::SimpleString("x".into())]).is_err());
    }
}
