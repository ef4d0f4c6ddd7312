//! Waiting for a condition, with what was last seen in the message when it does not come.

use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

/// Asks `probe` every 100 ms until it gives `Ok`; panics after `limit` with its last `Err`.
pub fn within<T, E: Debug>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) if started.elapsed() > limit => {
                panic!("not within {} s: {what}; last seen: {last:?}", limit.as_secs())
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// [`within`] two minutes.
pub fn eventually<T, E: Debug>(what: &str, probe: impl FnMut() -> Result<T, E>) -> T {
    within(Duration::from_mins(2), what, probe)
}
