//! What the chaos suite is made of: a recorder that writes and reads all the time and keeps what it was answered,
//! checks of what it has kept, and faults of a tenant's Redis on the local cluster.
//!
//! The checks are functions of recorded values; they know no cluster and no clock.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test equipment: a failed step ends the test")]

mod check;
mod client;
pub mod faults;

mod judge;
mod lost;
mod members;
mod operation;
mod recorder;
mod report;
mod subject;

pub use check::{failures, write_gap};
pub use client::Target;
pub use judge::{Judgement, Verdict, judge};
pub use lost::{Lost, lost};
pub use members::{Members, Pod};
pub use operation::{Action, Operation, Outcome};
pub use recorder::{Plan, Recorder, Recording};
pub use report::{Report, Round, folder};
pub use subject::{Subject, is_wanted, rounds};
