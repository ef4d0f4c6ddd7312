//! What a tenant uses: the questions to its Redis that tell, and what the answers mean. Shared by the worker, which asks for
//! `GET /diag`, and the operator, which asks for the status and for scaling. No connection, no clock.

mod buckets;
mod info;
mod queue;
mod slots;

pub use buckets::{BUCKETS, Index, indexes, tags};
pub use info::{SECTIONS, Totals};
pub use queue::{Jobs, QUESTIONS};
pub use slots::{SLOTS, hash, slot};
