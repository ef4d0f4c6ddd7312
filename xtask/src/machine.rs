//! Whether this machine had its processors: a virtual machine is told how much of its time its host gave to others.
//! Where that is much, seconds pass between two instructions, and what measures the world by seconds (who is down, what came in time)
//! sees faults that nobody has made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use keystead_cluster::steal::Times;

/// What is looked at as one: a share over less says little.
const WINDOW: Duration = Duration::from_secs(5);
/// Of a window's processor time, in percent: from here on it was taken away.
const MUCH: u64 = 25;
/// So many windows of that kind are worth a second try; of what is shorter, a third of its time.
const WINDOWS: u32 = 3;
/// How long a quiet time is waited for.
const PATIENCE: Duration = Duration::from_mins(10);

/// Looks at the machine until it is asked what it saw.
#[derive(Debug)]
pub(crate) struct Watch {
    ended: Arc<AtomicBool>,
    windows: Arc<AtomicU32>,
    thread: JoinHandle<()>,
    began: Instant,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let (ended, windows) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stop, count) = (ended.clone(), windows.clone());
        let thread = thread::spawn(move || {
            let (mut before, mut at) = (Times::now(), Instant::now());
            while !stop.load(Ordering::Relaxed) {
                thread::park_timeout(WINDOW);
                let now = Times::now();
                if let (Some(now), Some(before)) = (now, before)
                    && at.elapsed() >= WINDOW / 2
                    && now.stolen_since(before) >= MUCH
                {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                (before, at) = (now, Instant::now());
            }
        });
        Self { ended, windows, thread, began: Instant::now() }
    }

    /// For how long the machine was without its processors, where that is worth a second try.
    pub(crate) fn end(self) -> Option<Duration> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // It does not panic.
        let _ = self.thread.join();
        let windows = self.windows.load(Ordering::Relaxed);
        let is_much = windows >= WINDOWS || (windows > 0 && WINDOW * windows * 3 >= self.began.elapsed());
        is_much.then(|| WINDOW * windows)
    }
}

/// Waits until the machine has had its processors for a while, but not for ever.
pub(crate) fn wait_for_quiet() {
    let started = Instant::now();
    let mut quiet = 0;
    let mut before = Times::now();
    while quiet < WINDOWS && started.elapsed() < PATIENCE {
        thread::sleep(WINDOW);
        let now = Times::now();
        let (Some(is), Some(was)) = (now, before) else { return };
        quiet = if is.stolen_since(was) < MUCH { quiet + 1 } else { 0 };
        before = now;
    }
}
