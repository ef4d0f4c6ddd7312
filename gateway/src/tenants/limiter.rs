//! A tenant's rate: a bucket that holds `burst` requests and is filled with `requestsPerSecond`; each gateway has its own.

use std::num::NonZeroU32;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use keystead_route::Limits;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Counts requests against a rate.
#[derive(Debug)]
pub(crate) struct Limiter {
    bucket: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// What is left after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    per_second: NonZeroU32,
    burst: NonZeroU32,
    remaining: u32,
}

impl Limiter {
    /// None where the tenant has no rate.
    pub(crate) fn of(limits: &Limits) -> Option<Self> {
        let per_second = NonZeroU32::new(limits.requests_per_second?)?;
        let burst = limits.burst.and_then(NonZeroU32::new).unwrap_or(per_second);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let bucket = RateLimiter::direct(quota).with_middleware::<StateInformationMiddleware>();
        Some(Self { bucket, per_second, burst })
    }

    /// Counts a request; what is left, or the seconds until one is allowed.
    pub(crate) fn check(&self) -> (Allowance, Option<u64>) {
        let allowance = |remaining| Allowance { per_second: self.per_second, burst: self.burst, remaining };
        match self.bucket.check() {
            Ok(snapshot) => (allowance(snapshot.remaining_burst_capacity()), None),
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                (allowance(0), Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)))
            }
        }
    }
}

impl Allowance {
    /// `RateLimit` and `RateLimit-Policy` of the IETF's draft-ietf-httpapi-ratelimit-headers: what is left, and in how
    /// many seconds the bucket is full again.
    pub(crate) fn write_to(self, headers: &mut HeaderMap) {
        let seconds = |requests: u32| requests.div_ceil(self.per_second.get());
        let left =
            format!("\"tenant\";r={};t={}", self.remaining, seconds(self.burst.get() - self.remaining));
        let policy = format!("\"tenant\";q={};w={}", self.burst, seconds(self.burst.get()));
        for (name, text) in [(RATE_LIMIT, left), (RATE_LIMIT_POLICY, policy)] {
            // Digits and punctuation are a valid header value.
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}
