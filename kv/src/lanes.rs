//! One connection for each thread that serves: a connection whose tasks run where it is used wakes no other thread, and
//! answers of many requests still come together.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
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

/// The managers of one Redis' connections, each made at its first use.
pub(crate) struct Lanes {
    client: Client,
    config: ConnectionManagerConfig,
    managers: Box<[OnceLock<Result<ConnectionManager, RedisError>>]>,
    /// How often it was asked for, up to `SHARED_USES`.
    uses: AtomicU32,
}

/// So many requests go over one connection, whichever thread they are of: with it a Redis that is seldom asked costs the
/// memory of one connection, not of one for each thread.
const SHARED_USES: u32 = 256;

impl Lanes {
    pub(crate) fn new(client: Client, config: ConnectionManagerConfig, count: usize) -> Self {
        let managers = (0..count.clamp(1, MAX_LANES)).map(|_| OnceLock::new()).collect();
        Self { client, config, managers, uses: AtomicU32::new(0) }
    }

    /// All of them by lane; none where a lane has none yet.
    pub(crate) fn made(&self) -> Vec<Option<ConnectionManager>> {
        self.managers.iter().map(|manager| manager.get().and_then(|made| made.clone().ok())).collect()
    }

    /// That of the current thread, or of another while there is little to do. Must be called within a Tokio runtime.
    pub(crate) fn manager(&self) -> Result<ConnectionManager, RedisError> {
        let make = || ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone());
        let is_seldom = self.uses.load(Ordering::Relaxed) < SHARED_USES;
        if is_seldom {
            self.uses.fetch_add(1, Ordering::Relaxed);
        }
        let shared = || self.managers.iter().find_map(OnceLock::get);
        match shared().filter(|_| is_seldom) {
            Some(manager) => manager.clone(),
            None => self.managers[LANE.get() % self.managers.len()].get_or_init(make).clone(),
        }
    }
}
