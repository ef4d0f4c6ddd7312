//! What the large requests and answers of one tenant take of a gateway's memory, while a slow client holds them there.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

/// From how many bytes on a body is large: smaller ones are bounded by the number of requests.
pub(crate) const LARGE: usize = 64 * 1024;

/// Bytes that are counted, until this is dropped.
pub(crate) struct Room {
    counter: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(counter: &Arc<AtomicUsize>) -> Self {
        Self { counter: counter.clone(), bytes: 0 }
    }

    /// Counts so many in all; gives how many are counted with those of others.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> usize {
        let more = bytes.saturating_sub(self.bytes);
        self.bytes += more;
        self.counter.fetch_add(more, Ordering::Relaxed) + more
    }

    /// Counts nothing any more.
    pub(crate) fn leave(&mut self) {
        self.counter.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }

    /// These bytes, counted until they are dropped; as they are where none are counted.
    pub(crate) fn around(self, bytes: impl AsRef<[u8]> + Send + Into<Bytes> + 'static) -> Bytes {
        if self.bytes == 0 {
            return bytes.into();
        }
        Bytes::from_owner(Counted { bytes, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.leave();
    }
}

struct Counted<T> {
    bytes: T,
    _room: Room,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Counted<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}
