//! What there is to tell people of a change of the status. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use keystead_crds::{Failover, Phase, RedisStatus, TenantStatus, condition};
use kube::runtime::events::EventType;

use super::{RESHAPE_FAILED, ROLLOUT_STOPPED, WAKING, redis::changes};
use crate::tenant::names;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub kind: EventType,
    pub reason: String,
    pub note: String,
}

/// All that there is to tell.
pub fn events(previous: &TenantStatus, current: &TenantStatus) -> Vec<Transition> {
    let mut told = primaries_changed(previous, current);
    told.extend(reshape_failed(previous, current));
    told.extend(rollout_stopped(previous, current));
    told.extend(transition(previous, current));
    told
}

/// Of other primaries.
fn primaries_changed(previous: &TenantStatus, current: &TenantStatus) -> Vec<Transition> {
    let failover = |status: &TenantStatus| status.redis.as_ref()?.last_failover.clone();
    let Some(now) = failover(current).filter(|now| failover(previous).as_ref() != Some(now)) else {
        return Vec::new();
    };
    let Failover { from, to, reason, .. } = now;
    let changes = match (&previous.redis, &current.redis) {
        (Some(former), Some(RedisStatus { primaries, .. })) if !primaries.is_empty() => {
            changes(former, primaries)
        }
        _ => vec![(from, to)],
    };
    let kind = if reason == "HandOver" { EventType::Normal } else { EventType::Warning };
    let event = |(from, to): (String, String)| {
        let what = names::shard_of(&to).map(|shard| format!(" of shard {shard}")).unwrap_or_default();
        let note = format!("{to} takes the writes{what} now, in the place of {from}");
        Transition { kind, reason: reason.clone(), note }
    };
    changes.into_iter().map(event).collect()
}

/// Of a Job that did not distribute the data: once for each.
fn reshape_failed(previous: &TenantStatus, current: &TenantStatus) -> Option<Transition> {
    let failed = |status: &TenantStatus| {
        find(status, condition::RECONCILING).filter(|it| it.reason == RESHAPE_FAILED).map(|it| it.message)
    };
    let note = failed(current).filter(|note| failed(previous).as_ref() != Some(note))?;
    Some(Transition { kind: EventType::Warning, reason: RESHAPE_FAILED.to_owned(), note })
}

/// Of a member that does not come back: once, whatever phase the tenant is in.
fn rollout_stopped(previous: &TenantStatus, current: &TenantStatus) -> Option<Transition> {
    let stopped = |status: &TenantStatus| {
        find(status, condition::RECONCILING).filter(|it| it.reason == ROLLOUT_STOPPED)
    };
    let now = stopped(current).filter(|_| stopped(previous).is_none())?;
    Some(Transition { kind: EventType::Warning, reason: ROLLOUT_STOPPED.to_owned(), note: now.message })
}

/// Where the tenant has come from one phase into another.
fn transition(previous: &TenantStatus, current: &TenantStatus) -> Option<Transition> {
    let ready = |status: &TenantStatus| find(status, condition::READY);
    let now = ready(current)?;
    if now.reason == ROLLOUT_STOPPED {
        return None;
    }
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
        Phase::Sleeping => (EventType::Normal, "Sleeping".to_owned()),
        Phase::Updating if now.reason == WAKING => (EventType::Normal, WAKING.to_owned()),
        Phase::Updating => (EventType::Normal, "Updating".to_owned()),
        Phase::Deleting => (EventType::Normal, "Deleting".to_owned()),
        Phase::Degraded | Phase::Failed => (EventType::Warning, now.reason.clone()),
    };
    Some(Transition { kind, reason, note: now.message })
}

fn find(status: &TenantStatus, type_: &str) -> Option<Condition> {
    status.conditions.iter().find(|it| it.type_ == type_).cloned()
}
