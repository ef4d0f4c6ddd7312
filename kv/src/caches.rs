//! What is kept of a tenant's Redis in this process, and the watch over it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::sync::Notify;

use crate::{api_keys::ApiKey, entry::Entry, feed::FEED, tracked::Tracked};

/// Room for API keys, in bytes.
const API_KEY_BYTES: u64 = 256 * 1024;
/// How often Redis is asked whether the connection on which it tells of changes still stands. A network that swallows
/// everything is noticed after this and the connection's time-out; until then what is kept can be that old.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// What was not asked for so many times of the watch is dropped, and the watch with it.
const IDLE_ROUNDS: u32 = 60;

/// The caches of one connection.
#[derive(Debug)]
pub(crate) struct Caches {
    /// Only where the tenant wants it.
    pub(crate) entries: Option<Tracked<Entry>>,
    pub(crate) api_keys: Tracked<ApiKey>,
    /// The change feed has got longer, or nobody would tell.
    pub(crate) feed_changed: Arc<Notify>,
    is_watched: AtomicBool,
}

impl Caches {
    pub(crate) fn new(entry_bytes: u64) -> Self {
        Self {
            entries: (entry_bytes > 0).then(|| Tracked::new(entry_bytes, 1024)),
            api_keys: Tracked::new(API_KEY_BYTES, 1024),
            feed_changed: Arc::default(),
            is_watched: AtomicBool::new(false),
        }
    }

    /// What Redis tells by itself.
    pub(crate) fn on_push(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Disconnection => self.clear(),
            PushKind::Invalidate => match &push.data[..] {
                [Value::Array(names)] => names.iter().for_each(|name| self.forget(name)),
                // All of them: FLUSHALL, or a table of Redis that is full.
                _ => self.clear(),
            },
            _ => {}
        }
    }

    fn forget(&self, name: &Value) {
        match name {
            Value::BulkString(name) if name == FEED => self.feed_changed.notify_waiters(),
            Value::BulkString(name) if name.starts_with(b"kv:") => {
                if let Some(entries) = &self.entries {
                    entries.forget(name);
                }
            }
            // All API keys are in one hash.
            _ => self.api_keys.clear(),
        }
    }

    /// Forgets everything, and wakes whoever watches: nobody would tell of what has changed.
    pub(crate) fn clear(&self) {
        if let Some(entries) = &self.entries {
            entries.clear();
        }
        self.api_keys.clear();
        self.feed_changed.notify_waiters();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.as_ref().is_none_or(Tracked::is_empty) && self.api_keys.is_empty()
    }

    fn take_used(&self) -> bool {
        let entries = self.entries.as_ref().is_some_and(Tracked::take_used);
        self.api_keys.take_used() || entries
    }

    /// Begins a watch over all connections on which Redis tells of changes, unless there is one. `made` gives those of each
    /// lane, until nobody needs them any more.
    pub(crate) fn watch(
        caches: &Arc<Self>,
        made: impl Fn() -> Option<Vec<Option<MultiplexedConnection>>> + Send + 'static,
    ) {
        // Mostly there is one.
        if !caches.is_watched.load(Ordering::Relaxed) && !caches.is_watched.swap(true, Ordering::AcqRel) {
            tokio::spawn(watch(Arc::downgrade(caches), made));
        }
    }
}

/// Ends when nothing is kept or used any more.
async fn watch(caches: Weak<Caches>, made: impl Fn() -> Option<Vec<Option<MultiplexedConnection>>>) {
    // By lane: which connection it was; none where it was not asked for yet.
    let mut seen: Vec<Option<i64>> = Vec::new();
    let mut idle = 0;
    loop {
        let Some(connections) = made() else { return };
        let ids = join_all(connections.into_iter().map(async |connection| match connection {
            Some(connection) => Some(id(connection).await),
            None => None,
        }))
        .await;
        let Some(caches) = caches.upgrade() else { return };
        let is_other = |lane: usize, now: i64| seen.get(lane).copied().flatten().is_some_and(|id| id != now);
        let is_broken = ids.iter().enumerate().any(|(lane, id)| match id {
            // Never used, and so nothing is kept of it.
            None => false,
            Some(None) => true,
            Some(Some(id)) => is_other(lane, *id),
        });
        if is_broken {
            caches.clear();
        }
        seen = ids.into_iter().map(Option::flatten).collect();
        idle = if caches.take_used() { 0 } else { idle + 1 };
        if idle >= IDLE_ROUNDS {
            caches.clear();
        }
        if caches.is_empty() {
            caches.is_watched.store(false, Ordering::Release);
            // Something may have come in between.
            if caches.is_empty() || caches.is_watched.swap(true, Ordering::AcqRel) {
                return;
            }
        }
        drop(caches);
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// None where Redis does not answer.
async fn id(mut connection: MultiplexedConnection) -> Option<i64> {
    redis::cmd("CLIENT").arg("ID").query_async(&mut connection).await.ok()
}
