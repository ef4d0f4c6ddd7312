//! What each kind of job does, a file each.

mod audit_flush;
mod kv_delete;
mod kv_export;
mod kv_import;
mod kv_reencrypt;
mod ttl_sweep;
mod usage_snapshot;
mod webhook;

use std::time::{Duration, Instant};

use keystead_kv::{
    Connection, Corrupt, Error, Store,
    audit::AuditLog,
    queue::{Queue, kinds::Work},
};
use keystead_route::Limits;

use crate::{attempt::Attempt, loki::Loki, webhook::Sender};

/// What every job may use.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) connection: Connection,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) limits: Limits,
    pub(crate) audit: AuditLog,
    /// Where the audit log is sent.
    pub(crate) loki: Option<Loki>,
    pub(crate) webhooks: Sender,
    /// From when on nobody writes with other encryption keys than this process knows.
    pub(crate) keys_settled: Instant,
}

/// What a job leaves.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// JSON text, shown with the job.
    pub(crate) result: String,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another attempt may work.
    Transient(String),
    /// Another attempt may work, but not before this time has passed.
    Later(String, Duration),
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

pub(crate) async fn run(work: Work, context: &Context, attempt: &Attempt<'_>) -> Result<Output, Failure> {
    match work {
        Work::AuditFlush => audit_flush::run(context).await,
        Work::UsageSnapshot => usage_snapshot::run(context).await,
        Work::TtlSweep => ttl_sweep::run(&context.store).await,
        Work::KvExport(export) => kv_export::run(&export, &context.store, attempt).await,
        Work::KvImport(import) => kv_import::run(&import, context, attempt).await,
        Work::KvDelete(delete) => kv_delete::run(&delete, &context.store, attempt).await,
        Work::Webhook(webhook) => webhook::run(&webhook, context, attempt).await,
        Work::KvReencrypt(wanted) => kv_reencrypt::run(&wanted, context, attempt).await,
    }
}
