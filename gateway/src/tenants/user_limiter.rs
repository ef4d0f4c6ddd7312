//! The rate of each user of a tenant: a bucket of the same size for each, of so many users as fit.
//!
//! Where they do not fit, those are forgotten whose buckets are full again, or the nearest to it: they gain the least. Who would
//! have an empty bucket forgotten would have to spend those of all the others first.

use std::{
    cmp::Ordering,
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use axum::http::Extensions;
use governor::{
    RateLimiter, clock::DefaultClock, middleware::StateInformationMiddleware, nanos::Nanos, state::StateStore,
};

use super::limiter::Rate;
use crate::{auth::Principal, problem::Problem};

/// Users of a tenant that are remembered in one gateway.
const REMEMBERED: usize = 10_000;
/// How many are forgotten at once: all have to be looked at for it.
const FORGOTTEN: usize = REMEMBERED / 10;

/// Counts the requests of each user against a rate.
#[derive(Debug)]
pub(super) struct UserLimiter {
    rate: Rate,
    buckets: RateLimiter<String, Buckets, DefaultClock, StateInformationMiddleware>,
}

impl UserLimiter {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, buckets: RateLimiter::new(rate.quota(), Buckets::default(), DefaultClock::default()) }
    }

    /// Counts a request of a user, or refuses it; an API key is none, and may have a rate of its own.
    pub(super) fn count(&self, principal: &Principal, extensions: &Extensions) -> Result<(), Problem> {
        let checked = match principal {
            Principal::User(user) => self.buckets.check_key(&user.name),
            Principal::External(_) => self.buckets.check_key(&principal.name().into_owned()),
            Principal::ApiKey { .. } | Principal::Admin => return Ok(()),
        };
        let detail = "this user exceeds the tenant's spec.limits.userRequestsPerSecond: slow down";
        self.rate.take(checked, extensions, detail)
    }
}

/// When the bucket of each user is full again, or was, on the limiter's clock. Who is not here has a full one.
#[derive(Debug, Default)]
struct Buckets(Mutex<HashMap<String, Nanos>>);

impl StateStore for Buckets {
    type Key = String;

    fn measure_and_replace<T, F, E>(&self, user: &String, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = full_at.get_mut(user) {
            let (outcome, next) = measure(Some(*known))?;
            *known = next;
            return Ok(outcome);
        }
        let (outcome, next) = measure(None)?;
        if full_at.len() >= REMEMBERED {
            forget(&mut full_at);
        }
        full_at.insert(user.clone(), next);
        Ok(outcome)
    }
}

/// Forgets [`FORGOTTEN`] of them, whose buckets are full the soonest or the longest.
fn forget(full_at: &mut HashMap<String, Nanos>) {
    let mut times: Vec<Nanos> = full_at.values().copied().collect();
    let (sooner, last, _) = times.select_nth_unstable(FORGOTTEN - 1);
    let last = *last;
    // Others may have the same time as the last of them.
    let mut same = 1 + sooner.iter().filter(|time| **time == last).count();
    full_at.retain(|_, time| match (*time).cmp(&last) {
        Ordering::Less => false,
        Ordering::Equal if same > 0 => {
            same -= 1;
            false
        }
        Ordering::Equal | Ordering::Greater => true,
    });
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use governor::{Quota, clock::FakeRelativeClock, middleware::NoOpMiddleware};

    use super::*;

    type Limited = RateLimiter<String, Buckets, FakeRelativeClock, NoOpMiddleware<Nanos>>;

    /// Two requests at once, and one a second.
    fn limited() -> (Limited, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let quota = Quota::per_second(NonZeroU32::MIN).allow_burst(NonZeroU32::new(2).unwrap());
        (RateLimiter::new(quota, Buckets::default(), clock.clone()), clock)
    }

    fn is_taken(limited: &Limited, user: &str) -> bool {
        limited.check_key(&user.to_owned()).is_ok()
    }

    fn remembered(limited: Limited) -> usize {
        limited.into_state_store().0.into_inner().unwrap().len()
    }

    #[test]
    fn each_user_has_a_bucket_that_fills_again() {
        let (limited, clock) = limited();
        let three = |user: &str| [(); 3].map(|()| is_taken(&limited, user));
        assert_eq!(three("ada"), [true, true, false]);
        assert_eq!(three("grace"), [true, true, false]);
        clock.advance(Duration::from_secs(1));
        assert_eq!(three("ada"), [true, false, false]);
        clock.advance(Duration::from_secs(10));
        assert_eq!(three("ada"), [true, true, false]);
    }

    #[test]
    fn who_has_spent_theirs_is_remembered_however_many_others_come() {
        let (limited, clock) = limited();
        assert!(is_taken(&limited, "early"));
        clock.advance(Duration::from_millis(1));
        assert!(is_taken(&limited, "ada") && is_taken(&limited, "ada"));
        for other in 0..3 * REMEMBERED {
            assert!(is_taken(&limited, &other.to_string()));
        }
        assert!(!is_taken(&limited, "ada"), "a crowd does not fill a bucket");
        // A bucket that lacks but one request was given up for others.
        assert!(is_taken(&limited, "early") && is_taken(&limited, "early"));
        assert!((REMEMBERED - FORGOTTEN..=REMEMBERED).contains(&remembered(limited)));
    }

    #[test]
    fn those_whose_buckets_are_full_are_forgotten_first() {
        let (limited, clock) = limited();
        for idle in 0..REMEMBERED / 2 {
            assert!(is_taken(&limited, &format!("idle-{idle}")));
        }
        clock.advance(Duration::from_secs(5));
        for busy in 0..REMEMBERED / 2 {
            assert!(is_taken(&limited, &format!("busy-{busy}")));
        }
        for new in 0..FORGOTTEN {
            assert!(is_taken(&limited, &format!("new-{new}")));
        }
        let known = limited.into_state_store().0.into_inner().unwrap();
        let count = |kind: &str| known.keys().filter(|user| user.starts_with(kind)).count();
        assert_eq!(
            [count("idle"), count("busy"), count("new")],
            [REMEMBERED / 2 - FORGOTTEN, REMEMBERED / 2, FORGOTTEN]
        );
    }
}
