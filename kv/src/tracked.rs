//! Values read from Redis and kept until Redis says that they have changed (client-side caching of RESP3).
//!
//! A read that may be kept reserves its place first. Whatever takes the place away meanwhile, an invalidation or a write of
//! our own, also takes away the right to fill it, so that an answer which was overtaken is never kept.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use quick_cache::{
    DefaultHashBuilder, Weighter,
    sync::{Cache, DefaultLifecycle, EntryAction},
};

/// What a place costs beside the name and the value, in bytes.
const OVERHEAD: usize = 160;

/// A value that knows about how much memory it takes, in bytes.
pub(crate) trait Weigh {
    fn weight(&self) -> usize;
}

#[derive(Debug)]
enum Slot<T> {
    /// Somebody reads it.
    Reserved(u64),
    Known {
        epoch: u64,
        value: Arc<T>,
    },
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Reserved(ticket) => Self::Reserved(*ticket),
            Self::Known { epoch, value } => Self::Known { epoch: *epoch, value: value.clone() },
        }
    }
}

#[derive(Clone, Debug)]
struct ByBytes;

impl<T: Weigh> Weighter<Vec<u8>, Slot<T>> for ByBytes {
    fn weight(&self, name: &Vec<u8>, slot: &Slot<T>) -> u64 {
        let value = match slot {
            Slot::Reserved(_) => 0,
            Slot::Known { value, .. } => value.weight(),
        };
        (OVERHEAD + name.len() + value) as u64
    }
}

type Slots<T> = Cache<Vec<u8>, Slot<T>, ByBytes>;

/// Values by the name of what they were read from.
pub(crate) struct Tracked<T: Weigh> {
    /// Made at the first look: most tenants of a gateway are idle.
    slots: OnceLock<Slots<T>>,
    items: usize,
    max_bytes: u64,
    /// What weighs more is not kept: it would drive everything else out.
    largest: usize,
    /// Raised when nothing that is known can be trusted any more.
    epoch: AtomicU64,
    next_ticket: AtomicU64,
    /// Whether something was found since this was last asked.
    is_used: AtomicBool,
}

impl<T: Weigh> std::fmt::Debug for Tracked<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tracked").finish_non_exhaustive()
    }
}

/// What is known of a name.
#[derive(Debug)]
pub(crate) enum Found<'a, T: Weigh> {
    Known(Arc<T>),
    /// Nothing: a value may be kept here once it was read.
    Reserved(Reservation<'a, T>),
}

/// The right to keep a value, as long as nothing has overtaken it.
#[derive(Debug)]
pub(crate) struct Reservation<'a, T: Weigh> {
    cache: &'a Tracked<T>,
    name: Vec<u8>,
    ticket: u64,
    epoch: u64,
}

impl<T: Weigh> Tracked<T> {
    /// For about so many bytes, of values of about this size.
    pub(crate) fn new(max_bytes: u64, usual_size: u64) -> Self {
        let items = usize::try_from(max_bytes / usual_size.max(1)).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        Self {
            slots: OnceLock::new(),
            items,
            max_bytes,
            largest: usize::try_from(max_bytes / 8).unwrap_or(usize::MAX),
            epoch: AtomicU64::new(0),
            next_ticket: AtomicU64::new(0),
            is_used: AtomicBool::new(false),
        }
    }

    pub(crate) fn find(&self, name: &[u8]) -> Found<'_, T> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if let Some(Slot::Known { epoch: then, value }) = self.slots().get(name)
            && then == epoch
        {
            // A write for each would be shared by all threads.
            if !self.is_used.load(Ordering::Relaxed) {
                self.is_used.store(true, Ordering::Relaxed);
            }
            return Found::Known(value);
        }
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let name: Vec<u8> = name.into();
        self.slots().insert(name.clone(), Slot::Reserved(ticket));
        Found::Reserved(Reservation { cache: self, name, ticket, epoch })
    }

    /// Forgets a value, and takes the right to fill its place from whoever reads it now.
    pub(crate) fn forget(&self, name: &[u8]) {
        if let Some(slots) = self.slots.get() {
            slots.remove(name);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        if let Some(slots) = self.slots.get() {
            slots.clear();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.get().is_none_or(Cache::is_empty)
    }

    fn slots(&self) -> &Slots<T> {
        self.slots.get_or_init(|| {
            let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
            Cache::with(self.items, self.max_bytes, ByBytes, hasher, lifecycle)
        })
    }

    /// Whether something was found since this was last asked.
    pub(crate) fn take_used(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }
}

impl<T: Weigh> Reservation<'_, T> {
    /// Keeps the value, unless it was overtaken.
    pub(crate) fn fill(self, value: Arc<T>) {
        let (ticket, epoch) = (self.ticket, self.epoch);
        let is_stale = epoch != self.cache.epoch.load(Ordering::Acquire);
        if is_stale || value.weight() > self.cache.largest {
            return;
        }
        // A place that is not there any more gives a guard for a new one, which is dropped.
        let _ = self.cache.slots().entry(&self.name[..], None, |_, slot| {
            if matches!(slot, Slot::Reserved(by) if *by == ticket) {
                *slot = Slot::Known { epoch, value };
            }
            EntryAction::Retain(())
        });
    }
}

impl<T: Weigh> Drop for Reservation<'_, T> {
    /// A read that failed or was given up leaves no place behind.
    fn drop(&mut self) {
        let ticket = self.ticket;
        self.cache
            .slots()
            .remove_if(&self.name[..], |slot| matches!(slot, Slot::Reserved(by) if *by == ticket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for String {
        fn weight(&self) -> usize {
            self.len()
        }
    }

    fn known(cache: &Tracked<String>, name: &[u8]) -> Option<String> {
        match cache.find(name) {
            Found::Known(value) => Some((*value).clone()),
            Found::Reserved(_) => None,
        }
    }

    fn reserve<'a>(cache: &'a Tracked<String>, name: &[u8]) -> Reservation<'a, String> {
        match cache.find(name) {
            Found::Reserved(reservation) => reservation,
            Found::Known(value) => panic!("{value} is known"),
        }
    }

    #[test]
    fn a_value_is_kept_until_it_is_forgotten() {
        let cache = Tracked::new(10_000, 100);
        reserve(&cache, b"k").fill(Arc::new("one".into()));
        assert_eq!(known(&cache, b"k").as_deref(), Some("one"));
        assert!(cache.take_used() && !cache.take_used());
        cache.forget(b"k");
        assert_eq!(known(&cache, b"k"), None);
        assert!(cache.is_empty(), "a reservation that is given up leaves nothing");
    }

    #[test]
    fn an_answer_that_was_overtaken_is_not_kept() {
        let cache = Tracked::new(10_000, 100);
        let overtaken = reserve(&cache, b"k");
        cache.forget(b"k");
        overtaken.fill(Arc::new("old".into()));
        assert_eq!(known(&cache, b"k"), None);

        let overtaken = reserve(&cache, b"k");
        let later = reserve(&cache, b"k");
        later.fill(Arc::new("new".into()));
        overtaken.fill(Arc::new("old".into()));
        assert_eq!(known(&cache, b"k").as_deref(), Some("new"));

        let overtaken = reserve(&cache, b"other");
        cache.clear();
        overtaken.fill(Arc::new("old".into()));
        assert_eq!((known(&cache, b"other"), known(&cache, b"k")), (None, None));
    }

    #[test]
    fn no_more_bytes_are_kept_than_allowed() {
        let cache = Tracked::new(100_000, 1000);
        for number in 0..1000 {
            reserve(&cache, format!("k{number}").as_bytes()).fill(Arc::new("x".repeat(1000)));
        }
        assert!(cache.slots().weight() <= 102_000, "{}", cache.slots().weight());
        assert!(cache.slots().len() > 20, "{}", cache.slots().len());
        reserve(&cache, b"large").fill(Arc::new("x".repeat(20_000)));
        assert!(known(&cache, b"large").is_none(), "it would drive the others out");
    }
}
