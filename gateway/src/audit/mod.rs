//! The audit log: what was answered is noted in memory, and written to the tenant's Redis beside the requests, which never wait
//! for it. Never a value, and never a secret.

mod operations;
mod touched;
mod trail;

pub(crate) use operations::operation;
pub(crate) use touched::Touched;
pub(crate) use trail::{Record, Trail, Who};
