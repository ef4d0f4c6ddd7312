//! How many keys there may be where they are in several shards: no script sees all of them, so they are counted now and then.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Store, Written};
use crate::error::Error;

/// How old a count may be.
const COUNTS_FOR: Duration = Duration::from_secs(1);
/// Keys that there may be, as the scripts take it: no new one.
const NO_MORE: i64 = -1;

/// The keys of a cluster, as far as is known here.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    keys: AtomicU64,
    at: Mutex<Option<Instant>>,
}

/// What is to be done before a count is used.
enum Count {
    Wait,
    Begin,
    Nothing,
}

impl Store {
    /// How many keys there may be, as the scripts take it. In a cluster that is about so: keys that others have made since the last
    /// count are not known.
    pub(super) async fn most_keys(&self) -> Result<i64, Error> {
        let most = i64::try_from(self.max_keys).unwrap_or(i64::MAX);
        let Some(cluster) = self.connection.cluster().filter(|_| most > 0) else { return Ok(most) };
        let counted = cluster.counted();
        match counted.next() {
            // What cannot be counted is not refused: the limit holds again when all shards answer.
            Count::Wait => {
                if self.count_anew().await.is_err() {
                    counted.set(0);
                }
            }
            // Nobody waits for it: one shard that is away is no reason to refuse what goes to another.
            Count::Begin => {
                let this = self.clone();
                tokio::spawn(async move { this.count_anew().await });
            }
            Count::Nothing => {}
        }
        let are_too_many = counted.keys.load(Ordering::Relaxed) >= self.max_keys;
        Ok(if are_too_many { NO_MORE } else { 0 })
    }

    async fn count_anew(&self) -> Result<(), Error> {
        let keys = self.count().await?;
        if let Some(cluster) = self.connection.cluster() {
            cluster.counted().set(keys);
        }
        Ok(())
    }

    /// A new key counts at once.
    pub(super) fn has_written(&self, written: &Written) {
        if written.created_new
            && self.max_keys > 0
            && let Some(cluster) = self.connection.cluster()
        {
            cluster.counted().keys.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Counted {
    fn next(&self) -> Count {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        match *at {
            None => Count::Wait,
            Some(then) if then.elapsed() < COUNTS_FOR => Count::Nothing,
            Some(_) => {
                *at = Some(Instant::now());
                Count::Begin
            }
        }
    }

    fn set(&self, keys: u64) {
        self.keys.store(keys, Ordering::Relaxed);
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}
