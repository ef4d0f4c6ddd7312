//! Waiting for a condition, with what was last seen in the message when it does not come.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use keystead_cluster::steal::Times;

/// Asks `probe` every 100 ms, and more seldom the longer it takes, until it gives `Ok`; panics after `limit` with its last `Err`.
/// Time in which the host kept the processors from this machine does not count.
pub fn within<T, E: Debug>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let watch = Stopwatch::start();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) if watch.elapsed() > limit => {
                panic!("not within {} s: {what}; last seen: {last:?}", limit.as_secs())
            }
            // A question is often a kubectl, which itself takes what the others need.
            Err(_) => thread::sleep(
                (watch.began.elapsed() / 20).clamp(Duration::from_millis(100), Duration::from_secs(1)),
            ),
        }
    }
}

/// [`within`] two minutes.
pub fn eventually<T, E: Debug>(what: &str, probe: impl FnMut() -> Result<T, E>) -> T {
    within(Duration::from_mins(2), what, probe)
}

struct Stopwatch {
    began: Instant,
    /// None where the kernel does not tell.
    times: Option<Times>,
}

impl Stopwatch {
    fn start() -> Self {
        Self { began: Instant::now(), times: Times::now() }
    }

    fn elapsed(&self) -> Duration {
        let elapsed = self.began.elapsed();
        let (Some(before), Some(now)) = (self.times, Times::now()) else { return elapsed };
        let kept = u32::try_from(now.stolen_since(before)).unwrap_or(0).min(100);
        elapsed * (100 - kept) / 100
    }
}

/// Tells the threads of a scenario that they are done; also where a check has failed, for which they would wait.
#[derive(Debug)]
pub struct EndsWhenDropped<'a>(pub &'a AtomicBool);

impl Drop for EndsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
