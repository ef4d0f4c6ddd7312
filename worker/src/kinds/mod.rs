//! What each kind of job does, a file each.

mod kv_export;
mod ttl_sweep;

use keystead_kv::{Error, Store, queue::kinds::Work};

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
            Error::Corrupt(corrupt) => Self::Permanent(corrupt.to_string()),
            error => Self::Transient(error.to_string()),
        }
    }
}

pub(crate) async fn run(work: Work, store: &Store, max_result_bytes: usize) -> Result<Output, Failure> {
    match work {
        Work::TtlSweep => ttl_sweep::run(store).await,
        Work::KvExport(export) => kv_export::run(&export, store, max_result_bytes).await,
    }
}
