//! Rates of tenants and of API keys: a bucket that holds `burst` requests and is filled with so many a second; each gateway
//! has its own.

use std::{fmt::Write as _, num::NonZeroU32};

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::{InMemoryState, NotKeyed},
};
use keystead_route::Limits;

use crate::{
    finish::Noted,
    problem::{Code, Problem},
};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Counts requests against a rate.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// What is limited, as the headers name it.
    of: &'static str,
    bucket: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// What is left after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    of: &'static str,
    per_second: NonZeroU32,
    burst: NonZeroU32,
    remaining: u32,
}

impl Limiter {
    pub(crate) fn new(of: &'static str, per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let bucket = RateLimiter::direct(quota).with_middleware::<StateInformationMiddleware>();
        Self { of, bucket, per_second, burst }
    }

    /// None where the tenant has no rate.
    pub(crate) fn of_tenant(limits: &Limits) -> Option<Self> {
        let per_second = NonZeroU32::new(limits.requests_per_second?)?;
        let burst = limits.burst.and_then(NonZeroU32::new).unwrap_or(per_second);
        Some(Self::new("tenant", per_second, burst))
    }

    pub(crate) fn per_second(&self) -> NonZeroU32 {
        self.per_second
    }

    /// Counts a request, or refuses it with the detail. What is left is noted in its extensions for its answer.
    pub(crate) fn count(&self, extensions: &Extensions, detail: &'static str) -> Result<(), Problem> {
        let (remaining, wait) = match self.bucket.check() {
            Ok(snapshot) => (snapshot.remaining_burst_capacity(), None),
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                (0, Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)))
            }
        };
        if let Some(noted) = extensions.get::<Noted>() {
            let Self { of, per_second, burst, .. } = *self;
            noted.add(Allowance { of, per_second, burst, remaining });
        }
        match wait {
            None => Ok(()),
            Some(seconds) => Err(Problem::new(Code::RateLimited, detail).retry_after(seconds)),
        }
    }
}

/// `RateLimit` and `RateLimit-Policy` of the IETF's draft-ietf-httpapi-ratelimit-headers: what is left, and in how many
/// seconds the bucket is full again.
pub(crate) fn write_to(headers: &mut HeaderMap, allowances: &[Allowance]) {
    let (mut left, mut policy) = (String::new(), String::new());
    for Allowance { of, per_second, burst, remaining } in allowances {
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
