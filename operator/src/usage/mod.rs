//! What each tenant uses: asked of its Redis again and again, beside the passes, kept in memory, shown in the status and as
//! figures, and what scaling goes by. Decides nothing of a tenant's objects.

pub mod ask;
pub mod news;
pub mod readings;
pub mod watch;

use keystead_usage::{Jobs, Totals};

pub use readings::{Demand, Readings};

/// What a tenant uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Entries, without those that have expired.
    pub keys: u64,
    /// Entries that have expired and that nobody has swept yet.
    pub expired: u64,
    pub totals: Totals,
    pub jobs: Jobs,
}
