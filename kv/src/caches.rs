//! What is kept of a tenant's Redis in this process, and the watch over it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{PushInfo, PushKind, Value, aio::ConnectionManager};
use tokio::sync::Notify;

use crate::{
    api_keys::ApiKey,
    entry::Entry,
    feed::FEED,
    lanes::{MAX_LANES, current_lane},
    tracked::Tracked,
};

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
    /// By lane: each connection tells of what was read through it.
    is_watched: [AtomicBool; MAX_LANES],
}

impl Caches {
    pub(crate) fn new(entry_bytes: u64) -> Self {
        Self {
            entries: (entry_bytes > 0).then(|| Tracked::new(entry_bytes, 1024)),
            api_keys: Tracked::new(API_KEY_BYTES, 1024),
            feed_changed: Arc::default(),
            is_watched: [const { AtomicBool::new(false) }; MAX_LANES],
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

    fn clear(&self) {
        if let Some(entries) = &self.entries {
            entries.clear();
        }
        self.api_keys.clear();
        self.feed_changed.notify_waiters();
    }

    fn is_empty(&self) -> bool {
        self.entries.as_ref().is_none_or(Tracked::is_empty) && self.api_keys.is_empty()
    }

    fn take_used(&self, lane: usize) -> bool {
        let entries = self.entries.as_ref().is_some_and(|entries| entries.take_used(lane));
        self.api_keys.take_used(lane) || entries
    }

    /// Begins a watch over the connection of the current lane, unless there is one.
    pub(crate) fn watch(caches: &Arc<Self>, manager: ConnectionManager) {
        let lane = current_lane() % MAX_LANES;
        // Mostly there is one.
        if !caches.is_watched[lane].load(Ordering::Relaxed)
            && !caches.is_watched[lane].swap(true, Ordering::AcqRel)
        {
            tokio::spawn(watch(Arc::downgrade(caches), manager, lane));
        }
    }
}

/// Ends when nothing is kept or used any more.
async fn watch(caches: Weak<Caches>, mut manager: ConnectionManager, lane: usize) {
    let mut last: Option<i64> = None;
    let mut idle = 0;
    loop {
        let id = redis::cmd("CLIENT").arg("ID").query_async::<i64>(&mut manager).await.ok();
        let Some(caches) = caches.upgrade() else { return };
        if id.is_none() || last.is_some_and(|last| id != Some(last)) {
            caches.clear();
        }
        last = id;
        idle = if caches.take_used(lane) { 0 } else { idle + 1 };
        if idle >= IDLE_ROUNDS {
            caches.clear();
        }
        if caches.is_empty() {
            caches.is_watched[lane].store(false, Ordering::Release);
            // Something may have come in between.
            if caches.is_empty() || caches.is_watched[lane].swap(true, Ordering::AcqRel) {
                return;
            }
        }
        drop(caches);
        tokio::time::sleep(WATCH_EVERY).await;
    }
}
