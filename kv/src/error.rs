//! What can go wrong between us and a tenant's Redis, told apart by what the caller may do next.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::{entry::Corrupt, queue::MAX_WAITING, tls};

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
    /// As many jobs wait as may: none was queued.
    #[error(
        "{MAX_WAITING} jobs wait in the tenant's queue, and no more may: retry later, or raise spec.worker.replicas"
    )]
    QueueFull,
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
    /// Reads, and must not tell of what may still be lost.
    SureRead,
    Write,
}

/// Why an attempt has no result, before it is known what that means to the caller.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    Redis(RedisError),
    /// There was no connection: nothing was sent.
    NotSent(String),
    /// Nobody has accepted a connection in time: nothing was sent.
    NotReached,
    /// Carried out by the primary, and not confirmed in time by as many members as it takes.
    Unconfirmed,
    /// It cannot work, however often it is tried; nothing was sent.
    Impossible(&'static str),
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl Failed {
    /// No connection could be made.
    pub(crate) fn not_sent(error: &RedisError) -> Self {
        let why = match error.kind() {
            _ if error.is_connection_refusal() => "connection refused",
            ErrorKind::AuthenticationFailed => "the credentials are refused",
            ErrorKind::Io if let Some(why) = tls::refusal(error) => why,
            _ if error.is_timeout() => return Self::NotReached,
            _ => error.code().unwrap_or("no connection"),
        };
        Self::NotSent(why.to_owned())
    }

    /// Whether nothing was executed, and another attempt or another member may well succeed.
    pub(crate) fn is_harmless(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::NotReached => true,
            Self::Unconfirmed | Self::Impossible(_) => false,
            Self::Redis(error) => is_refused_for_now(error),
        }
    }

    /// Whether it may be tried again.
    pub(crate) fn may_repeat(&self, effect: Effect) -> bool {
        let is_lost = matches!(self, Self::Redis(error) if error.kind() == ErrorKind::Io);
        self.is_harmless() || (effect != Effect::Write && (is_lost || matches!(self, Self::Unconfirmed)))
    }

    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_timeout())
    }

    /// The script is not known there; nothing was executed.
    pub(crate) fn is_unknown_script(&self) -> bool {
        matches!(self, Self::Redis(error) if is_unknown_script(error))
    }
}

pub(crate) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// What a member says that is no primary, not yet or not any more, or that has too few replicas; and one whose users are
/// just being changed. All of it is said before the command begins.
fn is_refused_for_now(error: &RedisError) -> bool {
    let is_role = matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed
            | ErrorKind::Server(
                ServerErrorKind::ReadOnly
                    | ServerErrorKind::BusyLoading
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::TryAgain
            )
    );
    is_role
        || error.is_connection_refusal()
        || matches!(error.code(), Some("NOREPLICAS" | "NOAUTH" | "WRONGPASS"))
}

impl Error {
    pub(crate) fn from_failed(failed: &Failed, effect: Effect) -> Self {
        match failed {
            Failed::Redis(error) => Self::from_redis(error, effect),
            Failed::NotSent(why) => Self::Unavailable(why.clone()),
            Failed::NotReached => Self::Unavailable("it accepts no connection".into()),
            Failed::Unconfirmed if effect == Effect::Write => Self::OutcomeUnknown,
            Failed::Unconfirmed => Self::DeadlineExceeded,
            Failed::Impossible(why) => Self::Refused((*why).to_owned()),
        }
    }

    pub(crate) fn from_redis(error: &RedisError, effect: Effect) -> Self {
        let code = || error.code().unwrap_or("an error").to_owned();
        // A connection that was never made: nothing was sent.
        if let Some(why) = tls::refusal(error) {
            return Self::Unavailable(why.into());
        }
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
