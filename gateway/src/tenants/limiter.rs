//! Rates of tenants and of API keys: a bucket that holds `burst` requests and is filled with so many a second; each gateway
//! has its own.

use std::{fmt::Write as _, num::NonZeroU32};

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::{StateInformationMiddleware, StateSnapshot},
    state::{InMemoryState, NotKeyed},
};

use crate::{
    finish::Noted,
    problem::{Code, Problem},
};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How much is allowed, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// What is limited, as the headers name it.
    of: &'static str,
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// What a bucket says of a request.
type Checked = Result<StateSnapshot, NotUntil<<DefaultClock as Clock>::Instant>>;

impl Rate {
    /// As a Tenant's limits have it; none where they have none.
    pub(super) fn of_limits(of: &'static str, per_second: Option<u32>, burst: Option<u32>) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second?)?;
        let burst = burst.and_then(NonZeroU32::new).unwrap_or(per_second);
        Some(Self { of, per_second, burst })
    }

    pub(super) fn quota(self) -> Quota {
        Quota::per_second(self.per_second).allow_burst(self.burst)
    }

    /// Takes what a bucket says: what is left is noted in the request's extensions for its answer, and where nothing was the
    /// request is refused with the detail.
    pub(super) fn take(
        self,
        checked: Checked,
        extensions: &Extensions,
        detail: &'static str,
    ) -> Result<(), Problem> {
        let (remaining, wait) = match checked {
            Ok(snapshot) => (snapshot.remaining_burst_capacity(), None),
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                (0, Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)))
            }
        };
        if let Some(noted) = extensions.get::<Noted>() {
            noted.add(Allowance { rate: self, remaining });
        }
        match wait {
            None => Ok(()),
            Some(seconds) => Err(Problem::new(Code::RateLimited, detail).retry_after(seconds)),
        }
    }
}

/// Counts requests against a rate.
#[derive(Debug)]
pub(crate) struct Limiter {
    rate: Rate,
    bucket: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
}

/// What is left after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    rate: Rate,
    remaining: u32,
}

impl Limiter {
    pub(crate) fn new(of: &'static str, per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Rate { of, per_second, burst }.into()
    }

    pub(crate) fn per_second(&self) -> NonZeroU32 {
        self.rate.per_second
    }

    /// Counts a request, or refuses it with the detail. What is left is noted in its extensions for its answer.
    pub(crate) fn count(&self, extensions: &Extensions, detail: &'static str) -> Result<(), Problem> {
        self.rate.take(self.bucket.check(), extensions, detail)
    }
}

impl From<Rate> for Limiter {
    fn from(rate: Rate) -> Self {
        let bucket = RateLimiter::direct(rate.quota()).with_middleware::<StateInformationMiddleware>();
        Self { rate, bucket }
    }
}

/// `RateLimit` and `RateLimit-Policy` of the IETF's draft-ietf-httpapi-ratelimit-headers: what is left, and in how many
/// seconds the bucket is full again.
pub(crate) fn write_to(headers: &mut HeaderMap, allowances: &[Allowance]) {
    let (mut left, mut policy) = (String::new(), String::new());
    for Allowance { rate: Rate { of, per_second, burst }, remaining } in allowances {
        let seconds = |requests: u32| requests.div_ceil(per_second.get());
        let separator = if left.is_empty() { "" } else { ", " };
        // Writing into a String cannot fail.
        let _ = write!(left, "{separator}\"{of}\";r={remaining};t={}", seconds(burst.get() - remaining));
        let _ = write!(policy, "{separator}\"{of}\";q={burst};w={}", seconds(burst.get()));
    }
    for (name, text) in [(RATE_LIMIT, left), (RATE_LIMIT_POLICY, policy)] {
        // Digits and punctuation are a valid header value.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}
