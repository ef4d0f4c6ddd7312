//! Whether a rollout has come to a stop, as a pod that was replaced does not come back. Pure.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use keystead_crds::{TenantStatus, condition};

use super::{Outcome, ROLLOUT_STOPPED};
use crate::{
    kinds::Kind,
    tenant::{
        names,
        observe::{Observed, pod_state, trouble},
        rollout::members::Pod,
        validate::ValidTenant,
    },
};

/// Longer than an image takes to be pulled, and a Redis to read its data.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Why the rollout does not go on; `serves`: Redis answers meanwhile.
pub(super) fn stopped(
    outcome: &Outcome<'_>,
    previous: &TenantStatus,
    serves: bool,
    now: Timestamp,
) -> Option<String> {
    let valid = outcome.valid.filter(|it| !it.rests())?;
    let name = outcome.waits_on.or_else(|| only_one(valid, outcome.observed))?;
    // A tenant that was ready until just now has lost a pod that had come back.
    let ready = previous.conditions.iter().find(|it| it.type_ == condition::READY)?;
    let since = made_at(outcome.observed, name)?.max(ready.last_transition_time.0);
    (ready.status == "False" && now.duration_since(since) >= PATIENCE).then(|| {
        let pod = outcome.observed.get(Kind::Pod, name);
        let trouble = pod.and_then(trouble).map(|it| format!(" ({it})")).unwrap_or_default();
        let rest = if serves { "; the rest is left as it is and serves on" } else { "" };
        format!(
            "the rollout has stopped: {name} has not become ready within 10 minutes{trouble}; `kubectl describe pod` \
             says why. Correct the spec, such as the image{rest}"
        )
    })
}

/// Whether a rollout has stopped, as is said.
pub fn has_stopped(status: &TenantStatus) -> bool {
    status.conditions.iter().any(|it| it.type_ == condition::RECONCILING && it.reason == ROLLOUT_STOPPED)
}

/// The pod of a single Redis, while it is replaced by its StatefulSet.
fn only_one(valid: &ValidTenant, observed: &Observed) -> Option<&'static str> {
    (!valid.redis.has_members() && !observed.redis_is_rolled_out()).then_some(names::FIRST_POD)
}

/// When a pod was made that is as it is wanted now, and is not ready. One that is not as it is wanted may yet be replaced.
fn made_at(observed: &Observed, name: &str) -> Option<Timestamp> {
    let set = names::shard_of(name).map_or_else(|| names::REDIS.to_owned(), names::shard);
    let wanted = observed.get(Kind::StatefulSet, &set)?.at("/status/updateRevision")?;
    let pod =
        observed.get(Kind::Pod, name).filter(|it| matches!(pod_state(it), Pod::NotReady | Pod::Running))?;
    let is_as_wanted = pod.metadata("labels")?.get("controller-revision-hash") == Some(wanted);
    let made = pod.metadata("creationTimestamp")?.as_str()?.parse().ok();
    made.filter(|_| is_as_wanted)
}
