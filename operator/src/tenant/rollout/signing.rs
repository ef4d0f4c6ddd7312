//! The key that signs tokens, beside everything else: which step is due, and when to look for it.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::Step;
use crate::{
    kinds::Kind,
    tenant::{
        credentials::{
            Contents,
            signing::{Place, name},
        },
        names,
        observe::Observed,
        rotation::signing::{self, CARRIED_OUT_ANNOTATION, Keeper, Situation, TOLD_ANNOTATION},
        validate::ValidTenant,
    },
};

/// How often a key that somebody else keeps is looked at.
const OUTSIDE: Duration = Duration::from_secs(15);

/// The next step, where the route is as it is wanted.
pub(super) fn step(tenant: &ValidTenant, observed: &Observed, now: Timestamp) -> Option<Step> {
    let contents = observed.credential_contents()?;
    let change = signing::next(&situation(tenant, observed, &contents, now))?;
    Some(Step::RotateSigning {
        key: observed.get(Kind::Secret, names::CREDENTIALS)?.key.clone(),
        change,
        signing: tenant.auth.signing,
        outside: observed.outside_key.clone().and_then(Result::ok),
        request: tenant.signing_request.clone(),
    })
}

/// When to look again.
pub fn look_again(tenant: &ValidTenant, observed: &Observed, now: Timestamp) -> Option<Duration> {
    let contents = observed.credential_contents();
    let due = contents.and_then(|it| signing::look_again(&situation(tenant, observed, &it, now)));
    let of_outside = tenant.auth.existing_secret.is_some().then_some(OUTSIDE);
    due.into_iter().chain(of_outside).min()
}

fn situation<'a>(
    tenant: &'a ValidTenant,
    observed: &'a Observed,
    contents: &'a Contents,
    now: Timestamp,
) -> Situation<'a> {
    let signing = tenant.auth.signing;
    let key = observed.outside_key.as_ref().and_then(|it| it.as_ref().ok());
    let key = key.and_then(|it| it.0.get(name(signing, Place::Active)));
    Situation {
        contents,
        signing,
        keeper: match tenant.auth.existing_secret {
            Some(_) => Keeper::Other(key.map(String::as_str)),
            None => Keeper::Operator,
        },
        request: tenant.signing_request.as_deref(),
        carried_out: observed.credentials_annotation(CARRIED_OUT_ANNOTATION),
        since: observed.signing_since(),
        rotate_after: tenant.auth.rotate_after,
        told: observed.credentials_annotation(TOLD_ANNOTATION).and_then(|it| it.parse().ok()),
        token_life: tenant.auth.access_token_ttl,
        now,
    }
}
