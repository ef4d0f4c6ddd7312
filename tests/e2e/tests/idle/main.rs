//! What tenants do while little or nothing is asked of them. It takes minutes of waiting and hardly any of the machine: these run all at once.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

mod scaling;
mod sleep;
