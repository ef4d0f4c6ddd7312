//! Harnesses for tests on real processes: Redis, and a gateway beside it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test equipment: a failed step ends the test")]

pub mod authority;
pub mod cluster;
pub mod collector;
pub mod gateway;
pub mod loki;
mod processes;
pub mod redis;
pub mod replicated;

pub use processes::free_port;
