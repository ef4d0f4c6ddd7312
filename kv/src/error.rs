//! What can go wrong between us and a tenant's Redis, told apart by what the caller may do next.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::entry::Corrupt;

/// Why a command has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was executed: the same request may be sent again.
    #[error("the tenant's Redis is not available: {0}")]
    Unavailable(String),
    /// A write was sent and its answer did not come: it may have been executed.
    #[error("the tenant's Redis did not confirm a write: read the key, or repeat with a condition")]
    OutcomeUnknown,
    /// A read was not answered in time.
    #[error("the tenant's Redis did not answer in time")]
    DeadlineExceeded,
    /// `maxmemory` is reached and the tenant keeps its data (`OOM`).
    #[error("the tenant's Redis is full: delete keys or raise its memory limit")]
    Full,
    /// There are as many keys as the tenant may have: nothing was written.
    #[error("the tenant has as many keys as spec.limits.maxKeys allows: delete some, or raise it")]
    TooManyKeys,
    /// Others change the same key all the time; nothing was written.
    #[error("the key is changed by too many at once: retry later")]
    Contended,
    /// Bytes in Redis that this version cannot read.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A command that Redis refused; a fault of ours or of the ACL.
    #[error("the tenant's Redis refused a command: {0}")]
    Refused(String),
}

/// Whether a command changes anything: decides what a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

impl Error {
    pub(crate) fn from_redis(error: &RedisError, effect: Effect) -> Self {
        let code = || error.code().unwrap_or("an error").to_owned();
        match error.kind() {
            _ if error.is_connection_refusal() => Self::Unavailable("connection refused".into()),
            ErrorKind::Server(
                kind @ (ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask),
            ) => Self::Unavailable(format!("{kind:?}")),
            ErrorKind::AuthenticationFailed => Self::Unavailable("the credentials are refused".into()),
            ErrorKind::Extension | ErrorKind::Server(_) => match error.code() {
                Some("OOM") => Self::Full,
                // BUSY: a script runs too long; NOREPLICAS: too few replicas; MISCONF: no space left on disk. All
                // are refused before the command begins.
                Some(code @ ("BUSY" | "NOREPLICAS" | "MISCONF" | "NOAUTH" | "WRONGPASS")) => {
                    Self::Unavailable(code.into())
                }
                // Where a script runs out of memory inside, the code is within the message.
                _ if error.detail().is_some_and(|detail| detail.contains("OOM ")) => Self::Full,
                // The detail may hold a key or a value: only the code is shown.
                _ => Self::Refused(code()),
            },
            ErrorKind::Io if effect == Effect::Write => Self::OutcomeUnknown,
            ErrorKind::Io if error.is_timeout() => Self::DeadlineExceeded,
            ErrorKind::Io => Self::Unavailable("the connection broke".into()),
            kind => Self::Refused(format!("{kind:?}")),
        }
    }
}
