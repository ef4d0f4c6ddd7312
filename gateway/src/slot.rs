//! What is counted while it lasts: requests under way, clients that watch, connections of a thread.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// One that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// Counts one more; gives also how many there were before.
    pub(crate) fn take(counter: &Arc<AtomicUsize>) -> (Self, usize) {
        let before = counter.fetch_add(1, Ordering::Relaxed);
        (Self(counter.clone()), before)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
