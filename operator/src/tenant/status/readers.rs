//! Whether there are as many Redis that only answer reads as there ought to be. Pure.

use super::{Outcome, Said};

/// None where there are to be none. The tenant is served without them: the primary answers then.
pub(super) fn said(outcome: &Outcome<'_>) -> Option<Said> {
    let least = outcome.valid?.readers.as_ref()?.min;
    let ready = outcome.observed.readers_ready().unwrap_or_default();
    // Not their number, which an autoscaler changes all the time.
    Some(if ready >= least {
        Said::new(true, "PodsReady", "enough readers are ready")
    } else {
        Said::new(
            false,
            "PodsNotReady",
            format!(
                "fewer than {least} readers are ready (autoscaling.readers.minReplicas): where none answers the primary \
                 does; `kubectl describe pod` of redis-readers-… says why"
            ),
        )
    })
}
