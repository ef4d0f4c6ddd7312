//! Which requests are written down: a share of them, and those that the gateway or a Redis has failed, up to so many of each
//! tenant in a second.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use axum::http::StatusCode;

/// Failures of a tenant in a second that are written down, whatever the share: a line costs about what a read costs, and one
/// whose Redis is dead has as many failures as its clients like.
const FAILURES_PER_SECOND: u32 = 20;

/// `off`, `all`, or `1/N`: one of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// 0: nothing at all.
    one_of: u64,
}

/// The text is no [`AccessLog`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write off, all, or 1/N for one of N requests, such as 1/100")]
pub struct InvalidAccessLog;

impl FromStr for AccessLog {
    type Err = InvalidAccessLog;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let one_of = match text {
            "off" => 0,
            "all" => 1,
            share => {
                let number = share.strip_prefix("1/").ok_or(InvalidAccessLog)?;
                number.parse().ok().filter(|number| *number > 0).ok_or(InvalidAccessLog)?
            }
        };
        Ok(Self { one_of })
    }
}

/// Failures of one tenant that were written down in the last second.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The second, and how many it had.
    of_second: AtomicU64,
}

impl Failures {
    fn takes(&self, second: u32) -> bool {
        let one_more = |known: u64| {
            let is_new = known >> 32 != u64::from(second);
            let count = if is_new { 0 } else { known & u64::from(u32::MAX) };
            (count < FAILURES_PER_SECOND.into()).then(|| (u64::from(second) << 32) | (count + 1))
        };
        self.of_second.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }
}

/// Chooses.
#[derive(Debug)]
pub(crate) struct Sampler {
    share: AccessLog,
    seen: AtomicU64,
    begun: Instant,
    /// Of requests that are no tenant's.
    of_nobody: Failures,
}

impl Sampler {
    pub(crate) fn new(share: AccessLog) -> Self {
        Self { share, seen: AtomicU64::new(0), begun: Instant::now(), of_nobody: Failures::default() }
    }

    /// Whether a request with this answer is written down; `failures` are those of its tenant.
    pub(crate) fn takes(&self, status: StatusCode, failures: Option<&Failures>) -> bool {
        let second = || u32::try_from(self.begun.elapsed().as_secs()).unwrap_or(u32::MAX);
        let is_failure = || status.is_server_error() && failures.unwrap_or(&self.of_nobody).takes(second());
        match self.share.one_of {
            0 => false,
            1 => true,
            one_of => self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_of) || is_failure(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_and_failures() {
        let taken = |share: &str, status, count: u32| {
            let (sampler, failures) = (Sampler::new(share.parse().unwrap()), Failures::default());
            (0..count).filter(|_| sampler.takes(status, Some(&failures))).count()
        };
        assert_eq!(taken("off", StatusCode::BAD_GATEWAY, 10), 0);
        assert_eq!((taken("all", StatusCode::OK, 100), taken("1/10", StatusCode::OK, 100)), (100, 10));
        assert_eq!(taken("1/10", StatusCode::GATEWAY_TIMEOUT, FAILURES_PER_SECOND), 20);
        for wrong in ["", "1", "1/0", "2/3", "1/x", "none"] {
            assert_eq!(wrong.parse::<AccessLog>(), Err(InvalidAccessLog), "{wrong}");
        }
    }

    #[test]
    fn one_tenant_writes_only_so_many_failures_in_a_second() {
        let (one, other) = (Failures::default(), Failures::default());
        let taken = |of: &Failures, second| (0..100).filter(|_| of.takes(second)).count();
        assert_eq!((taken(&one, 7), taken(&other, 7)), (20, 20));
        assert_eq!((taken(&one, 7), taken(&one, 8), taken(&one, 0)), (0, 20, 20));
    }
}
