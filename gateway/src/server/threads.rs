//! The threads that serve: each with a runtime and with connections to Redis of its own, so that a request stays where it
//! began and no thread wakes another. New connections go to the thread that has the fewest.

use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::runtime::{Builder, Handle};

use crate::slot::Slot;

/// Threads that run until the process ends.
#[derive(Debug)]
pub struct Threads(Vec<Thread>);

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Threads {
    /// One less than there are cores for this process, at least one: a serving thread that has to share its core with what hashes
    /// passwords, or with a Redis, keeps all its connections waiting meanwhile.
    pub fn default_count() -> usize {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        cores.saturating_sub(1).clamp(1, keystead_kv::MAX_LANES)
    }

    pub fn start(count: usize) -> io::Result<Self> {
        let start = |lane: usize| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            thread::Builder::new().name(format!("serve-{lane}")).spawn(move || {
                keystead_kv::enter_lane(lane);
                runtime.block_on(std::future::pending::<()>());
            })?;
            Ok(Thread { runtime: handle, connections: Arc::default() })
        };
        Ok(Self((0..count.max(1)).map(start).collect::<io::Result<_>>()?))
    }

    /// The thread with the fewest connections, which has one more now.
    pub(super) fn place(&self) -> (Handle, Slot) {
        let least = self.0.iter().min_by_key(|thread| thread.connections.load(Ordering::Relaxed));
        // There is at least one.
        let thread = least.unwrap_or(&self.0[0]);
        (thread.runtime.clone(), Slot::take(&thread.connections).0)
    }
}
