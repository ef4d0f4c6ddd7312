//! What can go wrong for a tenant, and what follows: wait for a change, look again later, or try again soon.

use std::time::Duration;

use crate::{
    cache::Key,
    tenant::{certificates::NoCertificate, credentials::NoRandomness, validate::Invalid},
};

/// Why a pass over a tenant did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The tenant goes on as of the spec before, which has to be looked at again after a while.
    #[error("{invalid}")]
    GoesOn { invalid: Invalid, again: Option<Duration> },
    #[error(
        "the Tenant cannot be read: {0}. The definition that is installed and the operator are of different versions: upgrade the older"
    )]
    Unreadable(String),
    #[error(
        "the namespace {0} exists and is not this tenant's: nothing is put into it. Delete it, or choose another name for the Tenant"
    )]
    ForeignNamespace(String),
    /// The API server understood and would not: trying again helps only when something else has changed.
    #[error("the API server refuses {what}: {message}")]
    Refused { what: String, message: String },
    #[error("cannot {what} now: {source}")]
    Api { what: String, source: Box<kube::Error> },
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error(transparent)]
    NoCertificate(#[from] NoCertificate),
    #[error("the state does not settle: {0}")]
    Unsettled(String),
}

impl Error {
    /// An answer of the API server about an object. What it says of a Secret is left out: it might quote it.
    pub fn api(key: &Key, verb: &str, source: kube::Error) -> Self {
        let what = format!("to {verb} {key}");
        match &source {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) && !is_passing(status) => {
                let message = if key.kind == crate::kinds::Kind::Secret {
                    status.reason.clone()
                } else {
                    status.message.clone()
                };
                Self::Refused { what, message }
            }
            _ => Self::Api { what: format!("{verb} {key}"), source: Box::new(source) },
        }
    }

    /// Whether somebody has to change something first (kstatus: Stalled).
    pub fn is_stalled(&self) -> bool {
        match self {
            Self::Invalid(_)
            | Self::GoesOn { .. }
            | Self::Unreadable(_)
            | Self::ForeignNamespace(_)
            | Self::Refused { .. } => true,
            Self::Api { .. } | Self::NoRandomness(_) | Self::NoCertificate(_) | Self::Unsettled(_) => false,
        }
    }

    /// One word to search for.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::GoesOn { .. } => "InvalidSpec",
            Self::Unreadable(_) => "Unreadable",
            Self::ForeignNamespace(_) => "NamespaceNotOurs",
            Self::Refused { .. } => "Refused",
            Self::Api { .. } => "ApiError",
            Self::NoRandomness(_) => "NoRandomness",
            Self::NoCertificate(_) => "NoCertificate",
            Self::Unsettled(_) => "Unsettled",
        }
    }

    /// When to look again after `failures` failures in a row (1 or more); `None`: when the Tenant or an object changes.
    /// `jitter` is from 0 to 1 and spreads many tenants that fail at once.
    pub fn retry_after(&self, failures: u32, jitter: f64) -> Option<Duration> {
        let (first, most) = match self {
            Self::Invalid(_) | Self::Unreadable(_) => return None,
            Self::GoesOn { again, .. } => return *again,
            // Neither is watched: a namespace of others, a quota or a storage class.
            Self::ForeignNamespace(_) | Self::Refused { .. } => {
                (Duration::from_secs(15), Duration::from_mins(5))
            }
            Self::Api { .. } | Self::NoRandomness(_) | Self::NoCertificate(_) | Self::Unsettled(_) => {
                (Duration::from_millis(250), Duration::from_mins(1))
            }
        };
        let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        Some(doubled.min(most).mul_f64(0.5 + jitter.clamp(0.0, 1.0)))
    }
}

/// Refusals that end by themselves.
fn is_passing(status: &kube::core::Status) -> bool {
    status.message.contains("because it is being terminated")
        || status.message.contains("not yet ready to handle request")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::kinds::Kind;

    fn answer(kind: Kind, code: u16, message: &str) -> Error {
        let key = Key { kind, namespace: "n".into(), name: "x".into() };
        let status = Status { code, message: message.into(), reason: "Invalid".into(), ..Status::default() };
        Error::api(&key, "apply", kube::Error::Api(status.boxed()))
    }

    #[test]
    fn a_refusal_stalls_and_a_fault_is_tried_again() {
        let refused = answer(Kind::Service, 422, "port is wrong");
        assert_eq!(refused.to_string(), "the API server refuses to apply Service n/x: port is wrong");
        assert!(refused.is_stalled());
        assert!(!answer(Kind::Service, 503, "overloaded").is_stalled());
        assert!(!answer(Kind::Service, 409, "conflict").is_stalled());
        let ending = answer(
            Kind::Service,
            403,
            "x is forbidden: unable to create new content in namespace n because it is being terminated",
        );
        assert!(!ending.is_stalled());
    }

    #[test]
    fn what_is_said_of_a_secret_is_not_repeated() {
        let error = answer(Kind::Secret, 422, "data[p]: Invalid value: hunter2");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn trying_again_slows_down_and_is_spread() {
        let fault = answer(Kind::Service, 500, "");
        let after = |failures, jitter| fault.retry_after(failures, jitter).unwrap();
        assert_eq!(after(1, 0.5), Duration::from_millis(250));
        assert_eq!(after(3, 0.5), Duration::from_secs(1));
        assert_eq!(after(40, 0.5), Duration::from_mins(1));
        assert_eq!(after(40, 0.0), Duration::from_secs(30));
        let wrong = Invalid::Range { field: "f", value: 1 };
        assert_eq!(Error::Invalid(wrong.clone()).retry_after(1, 0.5), None);
        let again = Some(Duration::from_secs(15));
        assert_eq!(Error::GoesOn { invalid: wrong, again }.retry_after(9, 0.5), again);
    }
}
