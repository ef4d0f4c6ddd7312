//! What each kind of job does, a file each.

mod kv_export;
mod kv_reencrypt;
mod ttl_sweep;

use std::time::Instant;

use keystead_kv::{Corrupt, Error, Store, queue::kinds::Work};

/// What every job may use.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) max_result_bytes: usize,
    /// From when on nobody writes with other encryption keys than this process knows.
    pub(crate) keys_settled: Instant,
}

/// What a job leaves.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// JSON text, shown with the job.
    pub(crate) result: String,
    /// Fetched by itself.
    pub(crate) bytes: Vec<u8>,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another attempt may work.
    Transient(String),
    /// None will.
    Permanent(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // A key that is new: the next worker knows it.
            Error::Corrupt(Corrupt::UnknownKey) => Self::Transient(error.to_string()),
            Error::Corrupt(corrupt) => Self::Permanent(corrupt.to_string()),
            error => Self::Transient(error.to_string()),
        }
    }
}

pub(crate) async fn run(work: Work, context: &Context) -> Result<Output, Failure> {
    match work {
        Work::TtlSweep => ttl_sweep::run(&context.store).await,
        Work::KvReencrypt(wanted) => kv_reencrypt::run(&wanted, context).await,
        Work::KvExport(export) => kv_export::run(&export, &context.store, context.max_result_bytes).await,
    }
}
