//! The keys of one issuer: fetched at first use, again now and then, and when a token names a key that is not known; by one
//! task at a time, so that nobody can make a gateway hammer an issuer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::{fetch::Fetcher, jwk::KeySet};
use crate::slot::Slot;

/// From one attempt to the next, where it failed or a token named an unknown key.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long keys stay valid while their issuer cannot be reached.
const VALIDITY: Duration = Duration::from_hours(24);
/// Requests that may wait for one issuer.
const MAX_WAITING: usize = 1024;

/// One issuer.
pub(crate) struct Source {
    issuer: String,
    fetcher: Arc<Fetcher>,
    refresh: Duration,
    pause: Duration,
    keys: ArcSwapOption<KeySet>,
    begun: Instant,
    /// When a use of the keys has them fetched anew, in milliseconds since `begun`.
    fresh_until: AtomicU64,
    /// When the keys are no longer used, in milliseconds since `begun`.
    valid_until: AtomicU64,
    attempts: Mutex<Attempts>,
    /// Told when an attempt has ended.
    ended: watch::Sender<()>,
    waiting: Arc<AtomicUsize>,
}

struct Attempts {
    is_under_way: bool,
    not_before: Instant,
}

/// Why keys are fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// There are none, or they are old.
    Due,
    /// A token names one that is not there.
    UnknownKey,
}

/// The issuer could not be reached, and no keys are left from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    /// Seconds.
    pub(crate) retry_after: u64,
}

impl Source {
    pub(super) fn new(issuer: &str, fetcher: Arc<Fetcher>, refresh: Duration) -> Self {
        let begun = Instant::now();
        Self {
            issuer: issuer.to_owned(),
            fetcher,
            refresh,
            pause: PAUSE.min(refresh),
            keys: ArcSwapOption::empty(),
            begun,
            fresh_until: AtomicU64::new(0),
            valid_until: AtomicU64::new(0),
            attempts: Mutex::new(Attempts { is_under_way: false, not_before: begun }),
            ended: watch::Sender::new(()),
            waiting: Arc::default(),
        }
    }

    /// Whether these are the issuer's keys still. Takes no lock, but where they are due to be fetched anew.
    pub(crate) fn is_current(self: &Arc<Self>, keys: &Arc<KeySet>) -> bool {
        let now = self.now();
        self.refresh_if_due(now);
        self.is_valid(now) && self.keys.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, keys))
    }

    /// The keys among which that of a token is, if it is a key at all; waited for where they do not have it.
    pub(crate) async fn keys_for(self: &Arc<Self>, kid: Option<&str>) -> Result<Arc<KeySet>, Unavailable> {
        let known = self.current();
        if let Some(keys) = &known {
            // Without a name nobody can tell whether the key is a new one.
            if kid.is_none() || keys.find(kid).is_some() {
                self.refresh_if_due(self.now());
                return Ok(keys.clone());
            }
        }
        let reason = if known.is_some() { Reason::UnknownKey } else { Reason::Due };
        let (_waiting, others) = Slot::take(&self.waiting);
        if others < MAX_WAITING
            && let Some(mut ended) = self.fetch(reason)
        {
            // Too late or not, what there is then counts.
            let _ = tokio::time::timeout(PATIENCE, ended.changed()).await;
        }
        self.current().ok_or_else(|| self.unavailable())
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        self.is_valid(self.now()).then(|| self.keys.load_full()).flatten()
    }

    fn is_valid(&self, now: u64) -> bool {
        now < self.valid_until.load(Ordering::Acquire)
    }

    fn refresh_if_due(self: &Arc<Self>, now: u64) {
        if now >= self.fresh_until.load(Ordering::Relaxed) {
            // Nobody waits for it.
            let _ = self.fetch(Reason::Due);
        }
    }

    /// Begins to fetch the keys, or joins who does; none where it is too early for another attempt.
    fn fetch(self: &Arc<Self>, reason: Reason) -> Option<watch::Receiver<()>> {
        let mut attempts = self.attempts();
        if attempts.is_under_way {
            return Some(self.ended.subscribe());
        }
        let now = Instant::now();
        if now < attempts.not_before {
            return None;
        }
        attempts.is_under_way = true;
        let before = std::mem::replace(&mut attempts.not_before, now + self.pause);
        let ended = self.ended.subscribe();
        drop(attempts);
        self.fresh_until.store(self.now() + millis(self.pause), Ordering::Relaxed);
        let attempt = Attempt(self.clone());
        // Apart from the request, which may end before.
        tokio::spawn(async move {
            let source = &attempt.0;
            match source.fetcher.keys(&source.issuer).await {
                Ok(keys) => {
                    source.accept(keys);
                    if reason == Reason::Due {
                        // The first token with a new key need not wait.
                        source.attempts().not_before = before;
                    }
                }
                Err(error) => {
                    let has_keys = source.current().is_some();
                    tracing::warn!(issuer = source.issuer, %error, has_keys, "the keys of an issuer could not be fetched");
                }
            }
        });
        Some(ended)
    }

    fn accept(&self, keys: KeySet) {
        let is_new = self.keys.load().as_ref().is_none_or(|known| !known.is_same(&keys));
        if is_new {
            tracing::info!(issuer = self.issuer, usable = keys.len(), "an issuer has other keys");
            // Another `Arc`: what was verified with the keys before is verified anew.
            self.keys.store(Some(Arc::new(keys)));
        }
        let now = self.now();
        self.valid_until.store(now + millis(VALIDITY), Ordering::Release);
        self.fresh_until.store(now + millis(self.refresh), Ordering::Relaxed);
    }

    fn unavailable(&self) -> Unavailable {
        let left = self.attempts().not_before.saturating_duration_since(Instant::now());
        Unavailable { retry_after: left.as_secs() + 1 }
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        millis(self.begun.elapsed())
    }
}

/// An attempt that ends however its task does.
struct Attempt(Arc<Source>);

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.attempts().is_under_way = false;
        self.0.ended.send_replace(());
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
