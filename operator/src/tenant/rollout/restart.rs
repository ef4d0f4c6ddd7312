//! A single Redis that is restarted on purpose: gateways are told before it goes, and let requests wait for it until it is back.
//! Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::Step;
use crate::tenant::{build::Object, observe::Observed, validate::ValidTenant};

/// Of the route: until when requests are to wait.
pub const ANNOTATION: &str = "keystead.io/restarts-until";
/// One that is not back by then may not come back at all: nobody is to wait for that.
const LONGEST: Duration = Duration::from_mins(1);

/// For so long in any case: a pod that is ready is reached a moment later, when the nodes know of it.
const SHORTEST: i64 = 10;

/// Until when requests are to wait for it; none: it is not being restarted, or too long already. `restarts`: it is about to be.
/// Several Redis are restarted one after the other, and one of them is always there.
pub fn until(tenant: &ValidTenant, restarts: bool, observed: &Observed, now: Timestamp) -> Option<Timestamp> {
    if tenant.redis.has_members() || tenant.suspended || tenant.rests() {
        return None;
    }
    let told = observed.restarts_until().filter(|until| *until > now);
    if restarts {
        return told.or_else(|| now.checked_add(LONGEST).ok());
    }
    let is_back = observed.redis_is_rolled_out() && observed.redis_ready() > 0;
    let lasts = |until: &Timestamp| LONGEST.as_secs().cast_signed() - (until.as_second() - now.as_second());
    told.filter(|until| !is_back || lasts(until) < SHORTEST)
}

/// Whether it is the step by which gateways are told.
pub(super) fn tells(step: &Step) -> bool {
    let says_so = |object: &Object| {
        let annotations = object.body.pointer("/metadata/annotations");
        annotations.is_some_and(|it| it.get(ANNOTATION).is_some())
    };
    matches!(step, Step::Apply(object) if says_so(object))
}
