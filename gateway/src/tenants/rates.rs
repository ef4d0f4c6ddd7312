//! The rates of one tenant: of all its requests, of those of each user, and of those who have proved nothing.

use std::sync::Arc;

use axum::http::Extensions;
use keystead_route::Limits;

use super::{
    limiter::{Limiter, Rate},
    user_limiter::UserLimiter,
};
use crate::{auth::Principal, problem::Problem};

/// What a tenant's requests are counted against.
#[derive(Debug)]
pub(super) struct Rates {
    tenant: Option<Limiter>,
    /// The same for who has proved nothing, so that strangers do not spend what the tenant's users have.
    strangers: Option<Limiter>,
    users: Option<UserLimiter>,
}

impl Rates {
    /// With full buckets; none where the tenant has no rate at all.
    pub(super) fn of(limits: &Limits) -> Option<Arc<Self>> {
        let tenant = Rate::of_limits("tenant", limits.requests_per_second, limits.burst);
        let user = Rate::of_limits("user", limits.user_requests_per_second, limits.user_burst);
        (tenant.is_some() || user.is_some()).then(|| {
            Arc::new(Self {
                tenant: tenant.map(Limiter::from),
                strangers: tenant.map(Limiter::from),
                users: user.map(UserLimiter::new),
            })
        })
    }

    /// Counts a request, or refuses it. What is refused to a user is not taken from what the tenant has.
    pub(super) fn count(&self, principal: &Principal, extensions: &Extensions) -> Result<(), Problem> {
        if let Some(users) = &self.users {
            users.count(principal, extensions)?;
        }
        count(self.tenant.as_ref(), extensions)
    }

    /// The same for a request of somebody who has proved nothing.
    pub(super) fn count_stranger(&self, extensions: &Extensions) -> Result<(), Problem> {
        count(self.strangers.as_ref(), extensions)
    }
}

fn count(limiter: Option<&Limiter>, extensions: &Extensions) -> Result<(), Problem> {
    let detail = "this tenant's spec.limits.requestsPerSecond is exceeded: slow down";
    limiter.map_or(Ok(()), |limiter| limiter.count(extensions, detail))
}
