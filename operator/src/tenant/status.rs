//! What is said of a tenant in its status and in events. Pure: made from what was observed and what came of the pass.

mod events;
mod readers;
mod redis;
mod stopped;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use keystead_crds::{Phase, Tenant, TenantStatus, condition};

use super::{
    members::{self, Member, cluster},
    names,
    observe::Observed,
    rollout::{
        members::{Pod, Role},
        reshape::{self, Finished, Job},
    },
    sleep,
    validate::{Arrangement, Replicas, Shards, ValidTenant},
};
use crate::{error::Error, kinds::Kind};

pub use events::events;
pub use stopped::has_stopped;
use stopped::stopped;

/// The Job that distributes the data of a Cluster ended without having done so.
const RESHAPE_FAILED: &str = "ReshapeFailed";

/// A member that was replaced does not come back.
const ROLLOUT_STOPPED: &str = "RolloutStopped";

/// A part of the data of a Cluster is gone for good.
const DATA_LOST: &str = "DataLost";

/// The tenant was asleep, and its pods start.
const WAKING: &str = "Waking";

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
    /// The member that the rollout waits for, where it is one.
    pub waits_on: Option<&'a str>,
    /// Its Redis is left as it is while those of others are restarted.
    pub waits_for_turn: bool,
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
    let redis = redis(outcome);
    let lacking = lacking_member(outcome);
    let worker = worker(outcome);
    let route = if outcome.route_is_ready {
        Said::new(true, "Written", "the gateway has been told")
    } else {
        Said::new(false, "NotWritten", "the gateway has not been told yet")
    };
    let is_suspended = outcome.valid.is_some_and(|it| it.suspended);
    let is_asleep = outcome.valid.is_some_and(ValidTenant::rests);
    let rolled = observed.redis_is_rolled_out()
        && (observed.worker_is_rolled_out()
            || outcome.valid.is_some_and(|it| it.worker.replicas == Replicas::Fixed(0)));
    let works = redis.holds && route.holds && (worker.holds || is_suspended);
    let done = if is_asleep {
        route.holds && outcome.is_settled && observed.worker_is_away() && observed.redis_is_away()
    } else {
        works && rolled && outcome.is_settled && lacking.is_none()
    };
    // Also while its worker starts and its Redis answers already.
    let is_waking = outcome.valid.is_some_and(|it| it.is_in(sleep::Stage::Waking))
        || previous.conditions.iter().any(|it| it.type_ == condition::READY && it.reason == WAKING);
    let was_ready = matches!(
        previous.phase,
        Some(Phase::Ready | Phase::Updating | Phase::Degraded | Phase::Suspended | Phase::Sleeping)
    );
    let changing =
        !rolled || !outcome.is_settled || previous.observed_generation != tenant.metadata.generation;
    let stopped = stopped(outcome, previous, redis.holds, now);
    let lost = lost_data(outcome);
    let stalled = match (outcome.error.filter(|error| error.is_stalled()), lost) {
        (Some(error), _) => Some((error.reason(), error.to_string())),
        (None, lost) => lost.map(|message| (DATA_LOST, message)),
    };

    let phase = match (&stalled, done) {
        (Some(_), _) => Phase::Failed,
        (None, true) if is_suspended => Phase::Suspended,
        (None, _) if is_asleep => Phase::Sleeping,
        (None, true) => Phase::Ready,
        (None, false) if !was_ready && observed.namespace().is_none() => Phase::Pending,
        (None, false) if !was_ready => Phase::Provisioning,
        (None, false) if stopped.is_none() && (changing || is_waking) => Phase::Updating,
        (None, false) => Phase::Degraded,
    };
    let ready = match (&stalled, done) {
        (Some((reason, message)), _) => Said::new(false, reason, message),
        (None, true) if is_suspended => {
            Said::new(true, "Suspended", "suspended as asked for: the gateway answers 403, the data is kept")
        }
        (None, true) if is_asleep => Said::new(true, "Sleeping", sleeps(outcome)),
        (None, false) if is_asleep => Said::new(false, "FallingAsleep", falls_asleep(outcome)),
        (None, true) => Said::new(true, "Ready", served(outcome)),
        (None, false) if works && goes_on_meanwhile(tenant, previous, outcome) => {
            let waits_for = outcome.waits_for.unwrap_or_default();
            Said::new(true, "Ready", format!("{}; {waits_for}", served(outcome)))
        }
        (None, false) if let Some(why) = &stopped => Said::new(false, ROLLOUT_STOPPED, why),
        (None, false) => {
            let said = not_ready(phase, [&redis, &worker, &route], lacking.as_deref(), outcome, is_suspended);
            Said { reason: if is_waking { WAKING } else { said.reason }, ..said }
        }
    };
    let reconciling = match (&stalled, outcome.error) {
        (Some(_), _) => Said::new(false, "Stalled", stalls(outcome)),
        (None, Some(error)) => Said::new(true, error.reason(), format!("trying again: {error}")),
        (None, None) if done => Said::new(false, "Done", "everything is as the spec says"),
        (None, None) if let Some(why) = stopped => Said::new(true, ROLLOUT_STOPPED, why),
        (None, None) => {
            let message = outcome.waits_for.unwrap_or("waits for the pods to be as the spec says");
            match reshape::job(observed, None) {
                Job::Finished(Finished { attempt, failure: Some(why), .. }) => {
                    let message =
                        format!("redis-reshape failed (attempt {attempt}): {why}; it is tried again");
                    Said::new(true, RESHAPE_FAILED, message)
                }
                _ => Said::new(true, "InProgress", message),
            }
        }
    };
    let stalled = match stalled {
        Some((reason, message)) => Said::new(true, reason, message),
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
            ]
            .into_iter()
            .chain(readers::said(outcome).map(|readers| (condition::READERS_AVAILABLE, readers))),
            tenant,
            previous,
            now,
        ),
        redis: redis::status(outcome, previous, now),
        endpoint: outcome
            .valid
            .map(|it| format!("/t/{}/api/v1", it.name))
            .or_else(|| previous.endpoint.clone()),
        usage: previous.usage.clone(),
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
        usage: previous.usage.clone(),
    }
}

/// What is said of one for which somebody has to do something.
fn stalls(outcome: &Outcome<'_>) -> &'static str {
    match (outcome.error, outcome.valid) {
        (Some(Error::Invalid(_)), Some(_)) => {
            "somebody has to change something first; the tenant goes on as of the spec that was accepted last"
        }
        _ => "somebody has to change something first",
    }
}

/// Whether it was ready as it is, and only an operator that builds it otherwise wants to restart it, when it is its turn: nobody is
/// to be alarmed for that.
fn goes_on_meanwhile(tenant: &Tenant, previous: &TenantStatus, outcome: &Outcome<'_>) -> bool {
    let was_ready = previous.conditions.iter().any(|it| {
        it.type_ == condition::READY
            && it.status == "True"
            && it.observed_generation == tenant.metadata.generation
    });
    outcome.waits_for_turn && outcome.error.is_none() && was_ready
}

fn served(outcome: &Outcome<'_>) -> String {
    let unlisted = outcome.valid.and_then(|it| it.redis.unlisted());
    unlisted.map_or_else(|| "the tenant is served".to_owned(), |what| format!("the tenant is served; {what}"))
}

/// What is said of one that sleeps.
fn sleeps(outcome: &Outcome<'_>) -> String {
    let due = outcome.valid.and_then(|it| it.sleep.as_ref()?.due);
    let due = due.map_or_else(String::new, |due| format!(", or the job that is due at {due}"));
    format!("asleep, as nobody used it: its volumes are kept, and the first request wakes it{due}")
}

fn falls_asleep(outcome: &Outcome<'_>) -> String {
    outcome.error.map_or_else(
        || "nobody uses it, and its pods end".to_owned(),
        |error| format!("trying again: {error}"),
    )
}

/// Whether its Redis answers.
pub(super) fn redis_serves(valid: &ValidTenant, observed: &Observed) -> bool {
    serves(Some(valid), observed).is_ok()
}

fn redis(outcome: &Outcome<'_>) -> Said {
    let observed = outcome.observed;
    if outcome.valid.is_some_and(ValidTenant::rests) {
        return Said::new(false, "Sleeping", "no Redis runs while the tenant sleeps");
    }
    let pods = outcome.valid.map_or_else(|| vec![names::FIRST_POD.to_owned()], |it| it.redis.pods());
    match (serves(outcome.valid, observed), observed.pending_claim(&pods)) {
        (Ok((reason, message)), _) => Said::new(true, reason, message),
        (Err(_), Some(claim)) => {
            Said::new(false, "VolumePending", format!("the claim {claim} waits for its volume"))
        }
        (Err((reason, message)), None) => Said::new(false, reason, message),
    }
}

fn serves(valid: Option<&ValidTenant>, observed: &Observed) -> Serves {
    match valid.map(|it| &it.redis.arrangement) {
        Some(Arrangement::Cluster(shards)) => shards_serve(shards, &observed.members),
        Some(Arrangement::Replicated { .. }) => primary_serves(&observed.members),
        Some(Arrangement::Standalone) | None if observed.redis_ready() > 0 => {
            Ok(("PodReady", format!("{} is ready", names::FIRST_POD)))
        }
        Some(Arrangement::Standalone) | None => {
            let message = format!("{} is not ready; `kubectl describe pod` says why", names::FIRST_POD);
            Err(("PodNotReady", message))
        }
    }
}

/// A reason and a message: that it serves, or why it does not.
type Serves = Result<(&'static str, String), (&'static str, String)>;

fn primary_serves(members: &[Member]) -> Serves {
    if let Some(primary) = members::primary(members) {
        return Ok(("PrimaryServes", format!("{} is the primary", primary.name)));
    }
    let message = match members::named_by_most(members) {
        Some(named) => format!("{} is named as the primary and does not serve yet", named.name),
        None => "the Sentinels name no primary: `kubectl logs` of the pods redis-… says what each waits for"
            .to_owned(),
    };
    Err(("NoPrimary", message))
}

/// All that hold a part of the data have a primary. One that holds none yet is missed by nobody.
fn shards_serve(shards: &Shards, members: &[Member]) -> Serves {
    let holding: Vec<u8> = shards.numbers().filter(|shard| cluster::holds(members, *shard)).collect();
    if let Some(shard) = holding.iter().find(|shard| cluster::primary(members, **shard).is_none()) {
        let name = names::shard(*shard);
        let message = format!(
            "shard {shard} has no primary: `kubectl logs` of the pods {name}-… says what each waits for"
        );
        return Err(("NoPrimary", message));
    }
    if !cluster::is_formed(members) {
        return Err(("NotFormed", "the data is not spread over the shards yet".into()));
    }
    Ok(("PrimariesServe", format!("{} shards have a primary each", holding.len())))
}

/// What is to be said of a Cluster of which a part of the data is gone for good. Of other topologies nobody knows: see the
/// architecture.
fn lost_data(outcome: &Outcome<'_>) -> Option<String> {
    let shards = outcome.valid?.redis.shards()?;
    let members = &outcome.observed.members;
    let slots = cluster::lost_slots(members);
    let bare: Vec<String> =
        shards.numbers().filter(|shard| cluster::is_bare(members, *shard)).map(|it| it.to_string()).collect();
    (slots > 0).then(|| {
        format!(
            "the data of {slots} of 16384 slots is gone: all members answer, and none has it. Shards without data: {}. \
             Put back a volume that has it, or go on without it: see DataLost in docs/troubleshooting.md",
            if bare.is_empty() { "none".to_owned() } else { bare.join(", ") }
        )
    })
}

/// What lacks of the members; none where all are there and have everything.
fn lacking_member(outcome: &Outcome<'_>) -> Option<String> {
    let redis = outcome.valid.filter(|it| !it.rests()).map(|it| &it.redis).filter(|it| it.has_members())?;
    let states = outcome.observed.member_states();
    if states.len() < redis.pods().len() {
        return Some("the members are being made".into());
    }
    let lacks =
        states.iter().find(|it| it.pod != Pod::Ready || !matches!(it.role, Role::Primary | Role::InSync))?;
    Some(match lacks.pod {
        Pod::Ready if lacks.role == Role::Empty => format!("{} holds no part of the data", lacks.name),
        Pod::Ready => format!("{} does not have all that the primary has yet", lacks.name),
        _ => format!("{} is not ready; `kubectl describe pod` says why", lacks.name),
    })
}

fn worker(outcome: &Outcome<'_>) -> Said {
    match outcome.valid.map(|it| (&it.worker.replicas, it.suspended)) {
        Some((_, true)) => Said::new(false, "Suspended", "no pods while the tenant is suspended"),
        _ if outcome.valid.is_some_and(ValidTenant::rests) => {
            Said::new(false, "Sleeping", "no pods while the tenant sleeps")
        }
        Some((Replicas::Fixed(0), false)) => Said::new(true, "NoneWanted", "spec.worker.replicas is 0"),
        Some((replicas, false)) if replicas.least() == 0 && runs_no_worker(outcome.observed) => {
            Said::new(true, "Idle", "no job waits, so no pod runs: the next one brings it back")
        }
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

fn runs_no_worker(observed: &Observed) -> bool {
    observed.get(Kind::Deployment, names::WORKER).is_some()
        && observed.replicas(Kind::Deployment, names::WORKER) == 0
}

fn not_ready(
    phase: Phase,
    [redis, worker, route]: [&Said; 3],
    lacking_member: Option<&str>,
    outcome: &Outcome<'_>,
    is_suspended: bool,
) -> Said {
    let reason = match phase {
        Phase::Pending | Phase::Provisioning => "Provisioning",
        Phase::Updating => "Updating",
        _ if !redis.holds => "RedisNotAvailable",
        _ if !worker.holds => "WorkerNotAvailable",
        _ if lacking_member.is_some() => "MemberNotReady",
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
    if redis.holds {
        missing.extend(lacking_member);
    }
    missing.extend(outcome.waits_for);
    if missing.is_empty() {
        missing.push("pods are being replaced");
    }
    Said::new(false, reason, missing.join("; "))
}

/// Puts in the times: the last transition is when the condition began or ceased to hold.
fn dated<'a>(
    conditions: impl IntoIterator<Item = (&'a str, Said)>,
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

#[cfg(test)]
mod tests;
