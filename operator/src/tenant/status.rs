//! What is said of a tenant in its status and in events. Pure: made from what was observed and what came of the pass.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use keystead_crds::{Phase, RedisStatus, Tenant, TenantStatus, condition};
use kube::runtime::events::EventType;

use super::{
    names,
    observe::Observed,
    validate::{Replicas, ValidTenant},
};
use crate::error::Error;

/// What came of a pass.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    pub observed: &'a Observed,
    /// Absent where the spec cannot be carried out.
    pub valid: Option<&'a ValidTenant>,
    /// The route is there, as it is wanted.
    pub route_is_ready: bool,
    /// Everything is as it is wanted.
    pub is_settled: bool,
    /// What has to happen first, where something has.
    pub waits_for: Option<&'a str>,
    pub error: Option<&'a Error>,
}

/// A condition without its times.
struct Said {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Said {
    fn new(holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { holds, reason, message: message.into() }
    }
}

/// The status of a tenant that is wanted.
pub fn report(
    tenant: &Tenant,
    previous: &TenantStatus,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> TenantStatus {
    let observed = outcome.observed;
    let redis = redis(observed);
    let worker = worker(outcome);
    let route = if outcome.route_is_ready {
        Said::new(true, "Written", "the gateway has been told")
    } else {
        Said::new(false, "NotWritten", "the gateway has not been told yet")
    };
    let is_suspended = outcome.valid.is_some_and(|it| it.suspended);
    let rolled = observed.redis_is_rolled_out()
        && (observed.worker_is_rolled_out()
            || outcome.valid.is_some_and(|it| it.worker.replicas == Replicas::Fixed(0)));
    let works = redis.holds && route.holds && (worker.holds || is_suspended);
    let done = works && rolled && outcome.is_settled;
    let was_ready =
        matches!(previous.phase, Some(Phase::Ready | Phase::Updating | Phase::Degraded | Phase::Suspended));
    let changing =
        !rolled || !outcome.is_settled || previous.observed_generation != tenant.metadata.generation;
    let stalled = outcome.error.filter(|error| error.is_stalled());

    let phase = match (stalled, done) {
        (Some(_), _) => Phase::Failed,
        (None, true) if is_suspended => Phase::Suspended,
        (None, true) => Phase::Ready,
        (None, false) if !was_ready && observed.namespace().is_none() => Phase::Pending,
        (None, false) if !was_ready => Phase::Provisioning,
        (None, false) if changing => Phase::Updating,
        (None, false) => Phase::Degraded,
    };
    let ready = match (stalled, done) {
        (Some(error), _) => Said::new(false, error.reason(), error.to_string()),
        (None, true) if is_suspended => {
            Said::new(true, "Suspended", "suspended as asked for: the gateway answers 403, the data is kept")
        }
        (None, true) => Said::new(true, "Ready", "the tenant is served"),
        (None, false) => not_ready(phase, &redis, &worker, &route, outcome, is_suspended),
    };
    let reconciling = match (stalled, outcome.error) {
        (Some(_), _) => Said::new(false, "Stalled", "somebody has to change something first"),
        (None, Some(error)) => Said::new(true, error.reason(), format!("trying again: {error}")),
        (None, None) if done => Said::new(false, "Done", "everything is as the spec says"),
        (None, None) => {
            let message = outcome.waits_for.unwrap_or("waits for the pods to be as the spec says");
            Said::new(true, "InProgress", message)
        }
    };
    let stalled = match stalled {
        Some(error) => Said::new(true, error.reason(), error.to_string()),
        None => Said::new(false, "NotStalled", ""),
    };

    TenantStatus {
        observed_generation: tenant.metadata.generation,
        phase: Some(phase),
        conditions: dated(
            [
                (condition::READY, ready),
                (condition::RECONCILING, reconciling),
                (condition::STALLED, stalled),
                (condition::REDIS_AVAILABLE, redis),
                (condition::WORKER_AVAILABLE, worker),
                (condition::ROUTE_READY, route),
            ],
            tenant,
            previous,
            now,
        ),
        redis: redis_status(outcome, previous),
        endpoint: outcome
            .valid
            .map(|it| format!("/t/{}/api/v1", it.name))
            .or_else(|| previous.endpoint.clone()),
    }
}

/// The status of a tenant that is being deleted.
pub fn report_deletion(
    tenant: &Tenant,
    previous: &TenantStatus,
    waits_for: Option<&str>,
    error: Option<&Error>,
    now: Timestamp,
) -> TenantStatus {
    let message = match (error, waits_for) {
        (Some(error), _) => format!("trying again: {error}"),
        (None, waits_for) => waits_for.unwrap_or("the tenant is being removed").to_owned(),
    };
    let said = |holds: bool| Said::new(holds, "Deleting", message.clone());
    let conditions = [
        (condition::READY, said(false)),
        (condition::RECONCILING, said(true)),
        (condition::STALLED, Said::new(false, "NotStalled", "")),
        (condition::ROUTE_READY, Said::new(false, "Deleting", "the gateway no longer serves the tenant")),
    ];
    TenantStatus {
        observed_generation: tenant.metadata.generation,
        phase: Some(Phase::Deleting),
        conditions: dated(conditions, tenant, previous, now),
        redis: None,
        endpoint: None,
    }
}

fn redis(observed: &Observed) -> Said {
    if observed.redis_ready() > 0 {
        return Said::new(true, "PodReady", format!("{} is ready", names::FIRST_POD));
    }
    if observed.claim_is_pending() {
        let message = format!("the claim {} waits for its volume", names::first_claim());
        return Said::new(false, "VolumePending", message);
    }
    let message = format!("{} is not ready; `kubectl describe pod` says why", names::FIRST_POD);
    Said::new(false, "PodNotReady", message)
}

fn worker(outcome: &Outcome<'_>) -> Said {
    match outcome.valid.map(|it| (&it.worker.replicas, it.suspended)) {
        Some((_, true)) => Said::new(false, "Suspended", "no pods while the tenant is suspended"),
        Some((Replicas::Fixed(0), false)) => Said::new(true, "NoneWanted", "spec.worker.replicas is 0"),
        _ => {
            // Not the number of pods, which an autoscaler changes all the time.
            if outcome.observed.worker_is_available() {
                Said::new(true, "PodsAvailable", "enough pods are available")
            } else {
                Said::new(
                    false,
                    "PodsNotAvailable",
                    "too few pods are available; `kubectl describe pod` says why",
                )
            }
        }
    }
}

fn not_ready(
    phase: Phase,
    redis: &Said,
    worker: &Said,
    route: &Said,
    outcome: &Outcome<'_>,
    is_suspended: bool,
) -> Said {
    let reason = match phase {
        Phase::Pending | Phase::Provisioning => "Provisioning",
        Phase::Updating => "Updating",
        _ if !redis.holds => "RedisNotAvailable",
        _ if !worker.holds => "WorkerNotAvailable",
        _ => "NotReady",
    };
    if let Some(error) = outcome.error {
        return Said::new(false, reason, format!("trying again: {error}"));
    }
    let mut missing: Vec<&str> =
        [redis, route].iter().filter(|it| !it.holds).map(|it| it.message.as_str()).collect();
    if !worker.holds && !is_suspended {
        missing.push(&worker.message);
    }
    missing.extend(outcome.waits_for);
    if missing.is_empty() {
        missing.push("pods are being replaced");
    }
    Said::new(false, reason, missing.join("; "))
}

fn redis_status(outcome: &Outcome<'_>, previous: &TenantStatus) -> Option<RedisStatus> {
    let Some(valid) = outcome.valid else { return previous.redis.clone() };
    let ready_members = outcome.observed.redis_ready();
    Some(RedisStatus {
        topology: Some(valid.redis.topology.as_str().to_owned()),
        version: Some(valid.redis.version.clone()),
        primary: (ready_members > 0).then(|| names::FIRST_POD.to_owned()),
        ready_members,
    })
}

/// Puts in the times: the last transition is when the condition began or ceased to hold.
fn dated<const N: usize>(
    conditions: [(&str, Said); N],
    tenant: &Tenant,
    previous: &TenantStatus,
    now: Timestamp,
) -> Vec<Condition> {
    conditions
        .into_iter()
        .map(|(type_, said)| {
            let status = if said.holds { "True" } else { "False" };
            let former = previous.conditions.iter().find(|it| it.type_ == type_ && it.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: said.reason.to_owned(),
                message: said.message,
                observed_generation: tenant.metadata.generation,
                last_transition_time: former.map_or_else(|| Time(now), |it| it.last_transition_time.clone()),
            }
        })
        .collect()
}

/// An event, where the tenant has come from one phase into another.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub kind: EventType,
    pub reason: String,
    pub note: String,
}

/// What there is to tell people of a change of the status.
pub fn transition(previous: &TenantStatus, current: &TenantStatus) -> Option<Transition> {
    let ready =
        |status: &TenantStatus| status.conditions.iter().find(|it| it.type_ == condition::READY).cloned();
    let now = ready(current)?;
    let failed = current.phase == Some(Phase::Failed);
    let same_failure =
        failed && ready(previous).is_some_and(|it| it.reason == now.reason && it.message == now.message);
    if (previous.phase == current.phase && !failed) || same_failure {
        return None;
    }
    let (kind, reason) = match current.phase? {
        Phase::Ready => (EventType::Normal, "Ready".to_owned()),
        Phase::Suspended => (EventType::Normal, "Suspended".to_owned()),
        Phase::Pending | Phase::Provisioning => (EventType::Normal, "Provisioning".to_owned()),
        Phase::Updating => (EventType::Normal, "Updating".to_owned()),
        Phase::Deleting => (EventType::Normal, "Deleting".to_owned()),
        Phase::Degraded | Phase::Failed => (EventType::Warning, now.reason.clone()),
    };
    Some(Transition { kind, reason, note: now.message })
}

#[cfg(test)]
mod tests;
