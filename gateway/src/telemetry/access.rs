//! Which requests are written down: a share of them, and every one that the gateway or a Redis has failed.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::http::StatusCode;

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

/// Chooses.
#[derive(Debug)]
pub(crate) struct Sampler {
    share: AccessLog,
    seen: AtomicU64,
}

impl Sampler {
    pub(crate) fn new(share: AccessLog) -> Self {
        Self { share, seen: AtomicU64::new(0) }
    }

    /// Whether a request with this answer is written down.
    pub(crate) fn takes(&self, status: StatusCode) -> bool {
        match self.share.one_of {
            0 => false,
            1 => true,
            one_of => {
                self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_of) || status.is_server_error()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_and_every_failure() {
        let taken = |share: &str, status| {
            let sampler = Sampler::new(share.parse().unwrap());
            (0..100).filter(|_| sampler.takes(status)).count()
        };
        assert_eq!(taken("off", StatusCode::BAD_GATEWAY), 0);
        assert_eq!((taken("all", StatusCode::OK), taken("1/10", StatusCode::OK)), (100, 10));
        assert_eq!(taken("1/10", StatusCode::GATEWAY_TIMEOUT), 100);
        for wrong in ["", "1", "1/0", "2/3", "1/x", "none"] {
            assert_eq!(wrong.parse::<AccessLog>(), Err(InvalidAccessLog), "{wrong}");
        }
    }
}
