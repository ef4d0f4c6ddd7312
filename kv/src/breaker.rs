//! A breaker: once Redis has not answered several times in a row, nobody waits for it any more until one attempt has worked.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::error::Failed;

/// Answers that did not come in time, one after the other, until the breaker opens.
const THRESHOLD: u32 = 16;
/// How often an open breaker lets one attempt through.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// Counts what does not come back.
#[derive(Debug)]
pub(crate) struct Breaker {
    begun: Instant,
    /// Answers missed in a row.
    missed: AtomicU32,
    /// When the next attempt may be made, in milliseconds since `begun`.
    next: AtomicU64,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), missed: AtomicU32::new(0), next: AtomicU64::new(0) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.missed.load(Ordering::Relaxed) >= THRESHOLD
    }

    /// Whether Redis may be asked now.
    pub(crate) fn lets_through(&self) -> bool {
        !self.is_open() || self.probes(self.begun.elapsed())
    }

    /// Of all who ask while it is open, one at a time is let through.
    fn probes(&self, now: Duration) -> bool {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        milliseconds(now) >= next
            && self
                .next
                .compare_exchange(next, milliseconds(now + PROBE_EVERY), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Counts what came of asking: whoever says no is there.
    pub(crate) fn note<T>(&self, answer: &Result<T, Failed>) {
        match answer {
            Err(failed) if failed.is_timeout() => self.missed(),
            _ => self.answered(),
        }
    }

    /// Redis has answered, whatever.
    pub(crate) fn answered(&self) {
        // A write for each answer would be shared by all threads.
        if self.missed.load(Ordering::Relaxed) > 0 {
            self.missed.store(0, Ordering::Relaxed);
        }
    }

    /// It has not answered in time.
    pub(crate) fn missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_many_in_a_row_and_closes_with_the_first_answer() {
        let breaker = Breaker::new();
        for _ in 0..THRESHOLD - 1 {
            breaker.missed();
        }
        breaker.answered();
        for _ in 0..THRESHOLD {
            assert!(!breaker.is_open());
            breaker.missed();
        }
        assert!(breaker.is_open());
        breaker.answered();
        assert!(!breaker.is_open() && breaker.lets_through());
    }

    #[test]
    fn an_open_one_lets_one_through_at_a_time() {
        let breaker = Breaker::new();
        let at = Duration::from_millis;
        assert!(breaker.probes(at(1000)));
        assert!(!breaker.probes(at(1000)) && !breaker.probes(at(1249)));
        assert!(breaker.probes(at(1250)) && !breaker.probes(at(1251)));
    }
}
