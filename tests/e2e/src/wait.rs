//! Waiting for a condition, with what was last seen in the message when it does not come.

use std::{
    fmt::Debug,
    fs, thread,
    time::{Duration, Instant},
};

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
    ticks: Option<Ticks>,
}

/// Processor time since the start of the machine.
#[derive(Clone, Copy)]
struct Ticks {
    all: u64,
    stolen: u64,
}

impl Stopwatch {
    fn start() -> Self {
        Self { began: Instant::now(), ticks: Ticks::now() }
    }

    fn elapsed(&self) -> Duration {
        let elapsed = self.began.elapsed();
        let (Some(before), Some(now)) = (self.ticks, Ticks::now()) else { return elapsed };
        let all = u32::try_from(now.all.saturating_sub(before.all)).unwrap_or(u32::MAX).max(1);
        let stolen = u32::try_from(now.stolen.saturating_sub(before.stolen)).unwrap_or(0).min(all);
        elapsed.mul_f64(f64::from(all - stolen) / f64::from(all))
    }
}

impl Ticks {
    /// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; user has guest in it.
    fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Vec<u64> = line.split_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
        Some(Self { all: times.iter().sum(), stolen: *times.get(7)? })
    }
}
