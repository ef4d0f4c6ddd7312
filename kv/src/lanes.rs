//! One connection for each thread that serves: a connection whose tasks run where it is used wakes no other thread, and
//! answers of many requests still come together.

use std::{
    cell::Cell,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use redis::{
    Client, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

/// Threads that can have a lane of their own.
pub const MAX_LANES: usize = 64;

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(0) };
}

/// Gives the current thread a lane: connections that it uses are its own from now on, and their tasks run on the
/// current-thread runtime that it must have. A thread that was given none is in lane 0.
pub fn enter_lane(lane: usize) {
    LANE.set(lane);
}

/// The managers of one Redis' connections, each made when it is asked for.
pub(crate) struct Lanes {
    client: Client,
    config: ConnectionManagerConfig,
    managers: Box<[Mutex<Option<ConnectionManager>>]>,
    /// How often it was asked for, up to `SHARED_USES`.
    uses: AtomicU32,
    /// Since the last look whether it is idle.
    is_used: AtomicBool,
}

/// So many requests go over one connection, whichever thread they are of: with it a Redis that is seldom asked costs the
/// memory of one connection, not of one for each thread.
const SHARED_USES: u32 = 256;

impl Lanes {
    pub(crate) fn new(client: Client, config: ConnectionManagerConfig, count: usize) -> Self {
        let managers = (0..count.clamp(1, MAX_LANES)).map(|_| Mutex::default()).collect();
        Self { client, config, managers, uses: AtomicU32::new(0), is_used: AtomicBool::new(false) }
    }

    /// All of them by lane; none where a lane has none.
    pub(crate) fn made(&self) -> Vec<Option<ConnectionManager>> {
        self.managers.iter().map(|manager| lock(manager).clone()).collect()
    }

    /// That of the current thread, or of another while there is little to do. Must be called within a Tokio runtime.
    pub(crate) fn manager(&self) -> Result<ConnectionManager, RedisError> {
        // Before the manager is taken: see `close_idle`.
        if !self.is_used.load(Ordering::SeqCst) {
            self.is_used.store(true, Ordering::SeqCst);
        }
        if self.uses.load(Ordering::Relaxed) < SHARED_USES {
            self.uses.fetch_add(1, Ordering::Relaxed);
            if let Some(manager) = self.managers.iter().find_map(|manager| lock(manager).clone()) {
                return Ok(manager);
            }
        }
        let mut own = lock(&self.managers[LANE.get() % self.managers.len()]);
        if let Some(manager) = &*own {
            return Ok(manager.clone());
        }
        let made = ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone())?;
        Ok(own.insert(made).clone())
    }

    /// Closes all connections where none was asked for since the last call; whether there was one.
    pub(crate) fn close_idle(&self) -> bool {
        // With all of them held nobody takes one; who has taken one before has said so before.
        let mut held: Vec<_> = self.managers.iter().map(lock).collect();
        if self.is_used.swap(false, Ordering::SeqCst) {
            return false;
        }
        self.uses.store(0, Ordering::Relaxed);
        held.iter_mut().filter_map(|manager| manager.take()).count() > 0
    }
}

fn lock(manager: &Mutex<Option<ConnectionManager>>) -> MutexGuard<'_, Option<ConnectionManager>> {
    manager.lock().unwrap_or_else(PoisonError::into_inner)
}
