//! Volumes that are to grow. Whether they can, their storage class says: a refusal is told, and stops nothing else. Pure.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use keystead_crds::bytes;
use serde_json::Value;

use super::Step;
use crate::{
    cache::{Key, Seen},
    error::Error,
    tenant::{build::wanted_claims, observe::Observed, validate::ValidTenant},
};

/// The volumes that are smaller than wanted.
pub fn steps(tenant: &ValidTenant, observed: &Observed) -> Vec<Step> {
    let step = |(key, size): (Key, String)| {
        // One that has no volume yet cannot grow.
        let is_bound = |it: &&Seen| it.at("/status/phase").and_then(Value::as_str) == Some("Bound");
        let claim = observed.by_key(&key).filter(is_bound).filter(|it| !it.is_terminating())?;
        let present = claim.at("/spec/resources/requests/storage").and_then(Value::as_str)?;
        let amount = |text: &str| bytes(&Quantity(text.to_owned())).ok();
        (amount(present)? < amount(&size)?).then_some(Step::Grow { key, size })
    };
    wanted_claims(tenant).into_iter().filter_map(step).collect()
}

/// Which of two errors is told, `ungrown` being that of a volume: first of all what a person has to know.
pub fn told<'a>(error: Option<&'a Error>, ungrown: Option<&'a Error>) -> Option<&'a Error> {
    let both = || error.into_iter().chain(ungrown);
    both().find(|it| it.is_stalled()).or_else(|| both().next())
}

/// How a pass ends after these errors, which would have looked again after `next`. While there is more to do, that does not wait
/// until the growth is tried again, which is the more seldom the longer it fails.
pub fn end(
    error: Option<Error>,
    ungrown: Option<Error>,
    has_more_to_do: bool,
    next: Option<Duration>,
    jitter: f64,
) -> Result<Option<Duration>, Error> {
    match (error, ungrown) {
        (Some(error), _) => Err(error),
        (None, Some(ungrown)) if has_more_to_do => {
            Ok(next.into_iter().chain(ungrown.retry_after(1, jitter)).min())
        }
        (None, Some(ungrown)) => Err(ungrown),
        (None, None) => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Error {
        Error::Refused { what: "to grow".into(), message: "the class does not allow it".into() }
    }

    fn unsettled() -> Error {
        Error::Unsettled("x".into())
    }

    #[test]
    fn a_growth_that_is_refused_is_told_whatever_else_fails() {
        let (refused, unsettled) = (refused(), unsettled());
        let reason = |error, ungrown| told(error, ungrown).map(Error::reason);
        assert_eq!(reason(None, None), None);
        assert_eq!(reason(None, Some(&refused)), Some("Refused"));
        assert_eq!(reason(Some(&unsettled), Some(&refused)), Some("Refused"));
        assert_eq!(reason(Some(&unsettled), None), Some("Unsettled"));
    }

    #[test]
    fn a_growth_that_is_refused_holds_nothing_up() {
        let second = Some(Duration::from_secs(1));
        let after = |has_more_to_do, next| end(None, Some(refused()), has_more_to_do, next, 0.5);
        assert_eq!(after(true, second).unwrap(), second);
        assert_eq!(after(true, None).unwrap(), Some(Duration::from_secs(15)), "it may be allowed meanwhile");
        assert_eq!(after(false, second).unwrap_err().reason(), "Refused", "it is tried more and more seldom");
        assert_eq!(
            end(Some(unsettled()), Some(refused()), true, second, 0.5).unwrap_err().reason(),
            "Unsettled"
        );
        assert_eq!(end(None, None, true, second, 0.5).unwrap(), second);
    }
}
