//! One connection for each thread that serves: a connection whose tasks run where it is used wakes no other thread, and
//! answers of many requests still come together.

use std::cell::Cell;

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

/// The lane of the current thread.
pub(crate) fn lane() -> usize {
    LANE.get()
}
