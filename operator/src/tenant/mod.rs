//! The life of one tenant, as a pipeline: observe → validate → build → rollout → apply → status. Only `apply` and `own` write;
//! the steps between are pure.

pub mod accepted;
pub mod apply;
mod ask;
pub mod build;
pub mod certificates;
pub mod compare;
pub mod credentials;
pub mod members;
pub mod names;
pub mod observe;
mod own;
pub mod rollout;
pub mod rotation;
pub mod sleep;
pub mod status;
pub mod validate;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use keystead_crds::{FINALIZER, Phase, Tenant, TenantStatus};
use keystead_route::TenantName;
use kube::{Resource, ResourceExt, core::DeserializeGuard, runtime::controller::Action};

use crate::{context::Context, error::Error};
use accepted::Chosen;
use ask::{Asked, ask};
use build::{Known, build, reshape, services};
use observe::Observed;
use own::{add_finalizer, let_go, report_unreadable, write_status};
use rollout::{Desired, Plan, deletion, growth, plan, restart, signing, turns};
use rotation::Stage;
use status::Outcome;
use validate::{Invalid, Replicas, ValidTenant};

/// A Tenant as it is watched: one that cannot be read must not stop the watch of the others.
pub type Guarded = DeserializeGuard<Tenant>;

/// Rounds of a pass. A new tenant takes five; more than these means that somebody undoes what is done.
const ROUNDS: usize = 10;

/// Between two looks of one that waits for its turn, at least.
const TURN: Duration = Duration::from_secs(5);

/// How far a pass came.
struct Progress {
    observed: Observed,
    valid: Option<ValidTenant>,
    /// Why the Tenant's own spec is not what this follows from.
    refusal: Option<Invalid>,
    route_is_ready: bool,
    plan: Plan,
    /// Its Redis is left as it is while those of others are restarted.
    waits_for_turn: bool,
    error: Option<Error>,
    /// That a volume does not grow.
    ungrown: Option<Error>,
}

impl Progress {
    /// No spec is known that can be carried out.
    fn none(observed: Observed, error: Invalid, ungrown: Option<Error>) -> Self {
        Self {
            route_is_ready: observed.route().is_some(),
            observed,
            valid: None,
            refusal: None,
            plan: Plan::default(),
            waits_for_turn: false,
            error: Some(error.into()),
            ungrown,
        }
    }

    fn fault(&self) -> Option<&Error> {
        growth::told(self.error.as_ref(), self.ungrown.as_ref())
    }

    /// Whether there is more to do than to let a volume grow.
    fn has_more_to_do(&self) -> bool {
        !self.plan.is_empty()
            || self.observed.rotation() != Stage::Idle
            || self.observed.signing_rotation() != Stage::Idle
    }
}

/// One pass over a tenant.
pub async fn reconcile(tenant: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let outcome = match &tenant.0 {
        Ok(tenant) if tenant.metadata.deletion_timestamp.is_some() => remove(tenant, &context).await,
        Ok(tenant) => provide(tenant, &context).await,
        Err(invalid) => {
            let error = Error::Unreadable(invalid.error.clone());
            report_unreadable(tenant.meta(), &error, &context).await;
            Err(error)
        }
    };
    let result = outcome.as_ref().map_or_else(Error::reason, |_| "ok");
    context.metrics.reconciled(result, started.elapsed());
    context.metrics.watches(context.cache.len());
    if outcome.is_ok() {
        context.succeeded(&tenant.name_any());
    }
    outcome
}

/// What follows from an error: a wrong object waits for a change, the rest is tried again.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube's")]
pub fn error_policy(tenant: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let name = tenant.name_any();
    let failures = context.failed(&name, tenant.meta().generation);
    if failures > 1 && matches!(error, Error::GoesOn { .. }) {
        tracing::debug!(tenant = name, reason = error.reason(), failures, "{error}");
    } else {
        tracing::warn!(tenant = name, reason = error.reason(), failures, "{error}");
    }
    error.retry_after(failures, rand::random()).map_or_else(Action::await_change, Action::requeue)
}

/// Brings a tenant to what its spec says.
async fn provide(tenant: &Tenant, context: &Context) -> Result<Action, Error> {
    let name: TenantName = tenant.name_any().parse().map_err(Invalid::from)?;
    if !tenant.finalizers().iter().any(|it| it == FINALIZER) {
        add_finalizer(tenant, context).await?;
    }
    let asked = ask(tenant, &name, context).await;
    let progress = converge(tenant, &name, &asked, context).await;
    let refusal = progress.refusal.clone().map(Error::Invalid);
    let fault = refusal.as_ref().or_else(|| progress.fault());
    let outcome = Outcome {
        observed: &progress.observed,
        valid: progress.valid.as_ref(),
        route_is_ready: progress.route_is_ready,
        is_settled: fault.is_none() && progress.plan.is_empty(),
        waits_for: progress.plan.waits_for.as_deref(),
        waits_on: progress.plan.waits_on.as_deref(),
        waits_for_turn: progress.waits_for_turn,
        error: fault,
    };
    let previous = context.status_of(tenant);
    let current = status::report(tenant, &previous, &outcome, now());
    give_turn_back(&name, &progress, &current, context);
    if previous != current {
        warn_of_unlisted(&progress);
    }
    write_status(tenant, previous, current, context).await?;
    let next = look_again(&progress, &context.status_of(tenant));
    let has_more_to_do = progress.has_more_to_do();
    if let Some(ungrown) = progress.ungrown.as_ref().filter(|_| has_more_to_do) {
        tracing::warn!(tenant = tenant.name_any(), reason = ungrown.reason(), "{ungrown}");
    }
    let next = growth::end(progress.error, progress.ungrown, has_more_to_do, next, rand::random())?;
    match progress.refusal {
        Some(invalid) => Err(Error::GoesOn { invalid, again: next }),
        None => Ok(next.map_or_else(Action::await_change, Action::requeue)),
    }
}

fn warn_of_unlisted(progress: &Progress) {
    if let Some(valid) = &progress.valid
        && let Some(what) = valid.redis.unlisted()
    {
        tracing::warn!(tenant = valid.name.as_str(), "{what}");
    }
}

/// When to look again at what no watch tells.
fn look_again(progress: &Progress, status: &TenantStatus) -> Option<Duration> {
    let valid = progress.valid.as_ref()?;
    let of_sleep = valid
        .sleep
        .as_ref()
        .and_then(|sleep| sleep::look_again(sleep, &situation(valid, &progress.observed, status)));
    let of_signing = signing::look_again(valid, &progress.observed, now());
    let of_pods = if valid.rests() { None } else { look_again_at(valid, progress, status.phase) };
    [of_sleep, of_signing, of_pods].into_iter().flatten().min()
}

/// The same, but for its sleep and its signing key.
fn look_again_at(valid: &ValidTenant, progress: &Progress, phase: Option<Phase>) -> Option<Duration> {
    if progress.waits_for_turn {
        return Some(TURN.mul_f64(1.0 + rand::random::<f64>()));
    }
    if progress.observed.restarts_until().is_some() {
        return Some(Duration::from_secs(5));
    }
    let has_members = valid.redis.has_members();
    let rests = match phase {
        // What is under way goes on as of the spec before.
        Some(Phase::Failed) => progress.refusal.is_none() || progress.plan.is_empty(),
        phase => matches!(phase, Some(Phase::Ready | Phase::Suspended)),
    };
    if has_members && !rests {
        return Some(Duration::from_secs(1));
    }
    if progress.observed.rotation() != Stage::Idle {
        return Some(Duration::from_secs(3));
    }
    let tls = valid.redis.tls.as_ref();
    let has_outside =
        valid.redis.existing_secret.is_some() || tls.is_some_and(|it| it.issuer_secret.is_some());
    if has_members || has_outside {
        return Some(Duration::from_secs(15));
    }
    if phase == Some(Phase::Updating) {
        // That its pod does not come back is told by the time alone.
        return Some(Duration::from_mins(1));
    }
    // Not at the very time: that is of no account.
    (valid.redis.rotate_after.is_some() || tls.is_some()).then(|| Duration::from_mins(10))
}

/// Rounds of looking, planning and doing, until nothing can be done at the moment.
async fn converge(tenant: &Tenant, name: &TenantName, asked: &Asked, context: &Context) -> Progress {
    let writer = context.writer(name);
    let mut rounds = 0;
    let (mut has_tried, mut ungrown) = (false, None);
    loop {
        let mut observed = Observed::of(&context.cache, name, &context.settings.gateway_namespace);
        observed.members.clone_from(&asked.members);
        observed.outside.clone_from(&asked.outside);
        observed.outside_key.clone_from(&asked.outside_key);
        observed.authority.clone_from(&asked.authority);
        observed.idle = asked.idle;
        observed.demand = context.readings.demand(name.as_str(), Instant::now());
        let status = context.status_of(tenant);
        let (valid, refusal) = match accepted::choose(tenant, &context.settings, &observed, &status) {
            Ok(Chosen { valid, refusal }) => (rested(valid, &observed, &status), refusal),
            Err(error) => return Progress::none(observed, error, ungrown),
        };
        let credentials = observed.credentials(valid.needs());
        let issued = observed.issued().map(|issued| issued.ca());
        let known = Known {
            tenant: &valid,
            settings: &context.settings,
            credentials: credentials.as_ref(),
            addresses: &observed.addresses(&services(&valid)),
            readers_ip: observed.readers_ip(),
            redis_sets: &observed.redis_sets(),
            tls: issued.as_deref(),
            restarts_until: None,
        };
        let mut desired = Desired {
            objects: build(&known),
            is_complete: credentials.is_some() && known.endpoint().is_some() && known.is_secured(),
            reshape: reshape(&valid),
        };
        let restarts = turns::restarts(&valid, &desired, &observed);
        let turn = await_turn(&valid, restarts, &mut desired, &observed, context);
        let waits_for_turn = turn.is_some();
        if !waits_for_turn && let Some(until) = restart::until(&valid, restarts, &observed, now()) {
            desired.objects = build(&Known { restarts_until: Some(until), ..known });
        }
        let mut plan = plan(&valid, &desired, &observed, now());
        plan.waits_for = plan.waits_for.or(turn);
        let volumes = plan.take_growth();
        let route_is_ready = route_is_ready(&desired, &observed);
        // Once in a pass: refused, it would be refused again.
        if !has_tried && !volumes.is_empty() {
            has_tried = true;
            ungrown = writer.carry_out(volumes).await.err();
            continue;
        }
        let done = |plan, error, ungrown| {
            let valid = Some(valid);
            Progress { observed, valid, refusal, route_is_ready, plan, waits_for_turn, error, ungrown }
        };
        if plan.steps.is_empty() {
            return done(plan, None, ungrown);
        }
        rounds += 1;
        if rounds > ROUNDS {
            let error = Error::Unsettled(format!("{:?} is needed again and again", plan.steps));
            return done(plan, Some(error), ungrown);
        }
        if let Err(error) = writer.carry_out(plan.steps.clone()).await {
            return done(plan, Some(error), ungrown);
        }
    }
}

/// Takes its turn, where its Redis is to be restarted. While others have theirs, it is left as it is, and what is waited for is given.
fn await_turn(
    valid: &ValidTenant,
    restarts: bool,
    desired: &mut Desired,
    observed: &Observed,
    context: &Context,
) -> Option<String> {
    let (name, uid) = (valid.name.as_str(), valid.uid.as_str());
    if valid.rests() {
        return None;
    }
    if observed.redis_is_being_replaced() || (restarts && !turns::may_wait(valid, observed)) {
        context.turns().take(name, uid, Instant::now());
        return None;
    }
    if !restarts {
        return None;
    }
    let others = context.turns().ask(name, uid, Instant::now()).err()?;
    turns::hold_back(desired, observed);
    Some(turns::waits(others))
}

/// Ends its turn when its Redis is as it is wanted, and lets others have theirs when it has stopped before that, or cannot begin.
fn give_turn_back(name: &TenantName, progress: &Progress, status: &TenantStatus, context: &Context) {
    let Some(valid) = &progress.valid else { return context.turns().pass(name.as_str()) };
    let observed = &progress.observed;
    let is_restarted = progress.error.is_none()
        && observed.redis_is_rolled_out()
        && usize::try_from(observed.redis_ready()).is_ok_and(|ready| ready >= valid.redis.pods().len());
    if valid.rests() || is_restarted {
        context.turns().end(valid.name.as_str());
    } else if status::has_stopped(status) || progress.error.as_ref().is_some_and(Error::is_stalled) {
        context.turns().pass(valid.name.as_str());
    }
}

/// With its sleep, as it goes on from here. Its Redis ends last: when all are told that it sleeps, and its worker is away.
fn rested(valid: ValidTenant, observed: &Observed, status: &TenantStatus) -> ValidTenant {
    let before = observed.sleep();
    let sleep = sleep::next(before.as_ref(), &situation(&valid, observed, status));
    let is_told = before.is_some_and(|before| before.stage == sleep::Stage::Asleep);
    valid.sleeping(sleep, is_told && observed.worker_is_away())
}

fn situation<'a>(valid: &'a ValidTenant, observed: &Observed, status: &TenantStatus) -> sleep::Situation<'a> {
    sleep::Situation {
        idle_after: valid.idle_after,
        is_suspended: valid.suspended,
        is_settled: matches!(status.phase, Some(Phase::Ready | Phase::Suspended))
            && status.observed_generation == valid.generation
            && observed.rotation() == Stage::Idle,
        schedules: (valid.worker.replicas != Replicas::Fixed(0)).then_some(&valid.worker.schedules[..]),
        generation: valid.generation,
        calls: observed.calls(),
        idle: observed.idle,
        serves: status::redis_serves(valid, observed),
        now: now(),
    }
}

fn route_is_ready(desired: &Desired, observed: &Observed) -> bool {
    let Some(seen) = observed.route() else { return false };
    let wanted = desired.objects.iter().find(|object| object.key == seen.key);
    wanted.is_some_and(|object| compare::has(&seen.body, &object.body))
}

/// Carries out the deletion policy, and lets the Tenant go when that is done.
async fn remove(tenant: &Tenant, context: &Context) -> Result<Action, Error> {
    if !tenant.finalizers().iter().any(|it| it == FINALIZER) {
        return Ok(Action::await_change());
    }
    // Under a name that cannot be one, nothing was ever made.
    let Ok(name) = tenant.name_any().parse::<TenantName>() else {
        return let_go(tenant, context).await;
    };
    context.turns().end(name.as_str());
    let writer = context.writer(&name);
    let observe = || Observed::of(&context.cache, &name, &context.settings.gateway_namespace);
    if observe().namespace().is_none() {
        writer.find_namespace().await?;
    }
    let policy = validate::deletion_policy(tenant);
    let mut waits_for = None;
    let mut error = None;
    for _ in 0..ROUNDS {
        let plan = deletion::plan(policy, &observe());
        if plan.is_empty() {
            return let_go(tenant, context).await;
        }
        waits_for = plan.waits_for;
        if plan.steps.is_empty() {
            break;
        }
        error = writer.carry_out(plan.steps).await.err();
        if error.is_some() {
            break;
        }
    }
    let previous = context.status_of(tenant);
    let current = status::report_deletion(tenant, &previous, waits_for.as_deref(), error.as_ref(), now());
    write_status(tenant, previous, current, context).await?;
    error.map_or_else(|| Ok(Action::await_change()), Err)
}

/// To the second, as Kubernetes writes times.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
