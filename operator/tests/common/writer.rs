//! Writes one key after the other, each until it is acknowledged, and keeps account.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What was acknowledged, and how.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) keys: Vec<String>,
    /// The longest time between two acknowledgements.
    pub(crate) gap: Duration,
    /// Tries that were not acknowledged, by the first word of why.
    pub(crate) failed: BTreeMap<String, usize>,
}

impl Account {
    pub(crate) fn print(&self, what: &str, lost: usize) {
        println!(
            "{what}: {} acknowledged, {lost} lost, longest gap {:.2} s, not acknowledged: {:?}",
            self.keys.len(),
            self.gap.as_secs_f64(),
            self.failed
        );
    }
}

pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    thread: JoinHandle<Account>,
}

impl Writer {
    /// Each key is its own value; `attempt` says whether that was acknowledged.
    pub(crate) fn start(
        name: &str,
        mut attempt: impl FnMut(&str) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
        let name = name.to_owned();
        let thread = thread::spawn(move || {
            let mut account = Account::default();
            let mut last = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                // The keys of a test are to fit into the memory.
                thread::sleep(Duration::from_micros(500));
                let key = format!("{name}:{}", account.keys.len());
                match attempt(&key) {
                    Ok(()) => {
                        account.gap = account.gap.max(last.elapsed());
                        last = Instant::now();
                        account.keys.push(key);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        let text = error.to_string();
                        let word = text.split(' ').next().unwrap_or_default().to_owned();
                        *account.failed.entry(word).or_default() += 1;
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            }
            account
        });
        Self { stop, written, thread }
    }

    /// Waits until it has had so many more acknowledged.
    pub(crate) fn goes_on(&self, more: usize) {
        let goal = self.written.load(Ordering::Relaxed) + more;
        let until = Instant::now() + Duration::from_mins(1);
        while self.written.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < until, "no writes are acknowledged any more");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn finish(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
