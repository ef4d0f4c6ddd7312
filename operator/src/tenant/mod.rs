//! The life of one tenant, as a pipeline: observe → validate → build → rollout → apply → status. Only `apply` and this
//! file write; the steps between are pure.

pub mod apply;
mod ask;
pub mod build;
pub mod certificates;
pub mod compare;
pub mod credentials;
pub mod members;
pub mod names;
pub mod observe;
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
use keystead_crds::{FIELD_MANAGER, FINALIZER, Phase, Tenant, TenantStatus};
use keystead_route::TenantName;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::DeserializeGuard,
    runtime::{
        controller::Action,
        events::{Event, EventType},
    },
};
use serde_json::{Value, json};

use crate::{context::Context, error::Error, settings::Settings};
use ask::{Asked, ask};
use build::{Known, build, reshape, services};
use observe::Observed;
use rollout::{Desired, Plan, deletion, growth, plan, signing};
use rotation::Stage;
use status::Outcome;
use validate::{Arrangement, Invalid, Replicas, ValidTenant, validate};

/// A Tenant as it is watched: one that cannot be read must not stop the watch of the others.
pub type Guarded = DeserializeGuard<Tenant>;

/// Rounds of a pass. A new tenant takes five; more than these means that somebody undoes what is done.
const ROUNDS: usize = 10;

/// How far a pass came.
struct Progress {
    observed: Observed,
    valid: Option<ValidTenant>,
    route_is_ready: bool,
    plan: Plan,
    error: Option<Error>,
    /// That a volume does not grow.
    ungrown: Option<Error>,
}

impl Progress {
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
    tracing::warn!(tenant = name, reason = error.reason(), failures, "{error}");
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
    let outcome = Outcome {
        observed: &progress.observed,
        valid: progress.valid.as_ref(),
        route_is_ready: progress.route_is_ready,
        is_settled: progress.fault().is_none() && progress.plan.is_empty(),
        waits_for: progress.plan.waits_for.as_deref(),
        waits_on: progress.plan.waits_on.as_deref(),
        error: progress.fault(),
    };
    let previous = context.status_of(tenant);
    let current = status::report(tenant, &previous, &outcome, now());
    write_status(tenant, previous, current, context).await?;
    let next = look_again(tenant, &progress, context);
    let has_more_to_do = progress.has_more_to_do();
    if let Some(ungrown) = progress.ungrown.as_ref().filter(|_| has_more_to_do) {
        tracing::warn!(tenant = tenant.name_any(), reason = ungrown.reason(), "{ungrown}");
    }
    let next = growth::end(progress.error, progress.ungrown, has_more_to_do, next, rand::random())?;
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// When to look again at what no watch tells.
fn look_again(tenant: &Tenant, progress: &Progress, context: &Context) -> Option<Duration> {
    let valid = progress.valid.as_ref()?;
    let status = context.status_of(tenant);
    let of_sleep = valid
        .sleep
        .as_ref()
        .and_then(|sleep| sleep::look_again(sleep, &situation(valid, tenant, &progress.observed, &status)));
    let of_signing = signing::look_again(valid, &progress.observed, now());
    let of_pods = if valid.rests() { None } else { look_again_at(valid, progress, status.phase) };
    [of_sleep, of_signing, of_pods].into_iter().flatten().min()
}

/// The same, but for its sleep and its signing key.
fn look_again_at(valid: &ValidTenant, progress: &Progress, phase: Option<Phase>) -> Option<Duration> {
    let has_members = valid.redis.has_members();
    if has_members && !matches!(phase, Some(Phase::Ready | Phase::Suspended | Phase::Failed)) {
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
        let valid = match validated(tenant, &context.settings, &observed) {
            Ok(valid) => rested(valid, tenant, &observed, &context.status_of(tenant)),
            Err(error) => {
                let route_is_ready = observed.route().is_some();
                let error = Some(error.into());
                let plan = Plan::default();
                return Progress { observed, valid: None, route_is_ready, plan, error, ungrown };
            }
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
        };
        let desired = Desired {
            objects: build(&known),
            is_complete: credentials.is_some() && known.endpoint().is_some() && known.is_secured(),
            reshape: reshape(&valid),
        };
        let mut plan = plan(&valid, &desired, &observed, now());
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
            Progress { observed, valid, route_is_ready, plan, error, ungrown }
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

/// The spec, with what is there and cannot just be left: an unnamed version, and shards that may still hold data.
pub(crate) fn validated(
    tenant: &Tenant,
    settings: &Settings,
    observed: &Observed,
) -> Result<ValidTenant, Invalid> {
    let mut valid = validate(tenant, settings, observed.provisioned_version())?;
    if let Some(running) = observed.running_version(valid.redis.has_members()) {
        validate::takes_the_place_of(&valid.redis, running)?;
    }
    if let Arrangement::Cluster(shards) = &mut valid.redis.arrangement {
        shards.leaving = observed.leaving(shards.wanted);
    }
    Ok(valid)
}

/// With its sleep, as it goes on from here. Its Redis ends last: when all are told that it sleeps, and its worker is away.
fn rested(valid: ValidTenant, tenant: &Tenant, observed: &Observed, status: &TenantStatus) -> ValidTenant {
    let before = observed.sleep();
    let sleep = sleep::next(before.as_ref(), &situation(&valid, tenant, observed, status));
    let is_told = before.is_some_and(|before| before.stage == sleep::Stage::Asleep);
    valid.sleeping(sleep, is_told && observed.worker_is_away())
}

fn situation<'a>(
    valid: &'a ValidTenant,
    tenant: &Tenant,
    observed: &Observed,
    status: &TenantStatus,
) -> sleep::Situation<'a> {
    sleep::Situation {
        idle_after: valid.idle_after,
        is_suspended: valid.suspended,
        is_settled: matches!(status.phase, Some(Phase::Ready | Phase::Suspended))
            && status.observed_generation == tenant.metadata.generation
            && observed.rotation() == Stage::Idle,
        schedules: (valid.worker.replicas != Replicas::Fixed(0)).then_some(&valid.worker.schedules[..]),
        generation: tenant.metadata.generation,
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

async fn add_finalizer(tenant: &Tenant, context: &Context) -> Result<(), Error> {
    // With the uid: a Tenant that has gone in the meantime is not made anew by this.
    let body = manifest(tenant.meta(), &[FINALIZER], None);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let answer = tenants(context).patch(&tenant.name_any(), &params, &Patch::Apply(&body)).await;
    context.metrics.wrote_tenant("finalizer");
    answer.map(drop).map_err(|source| api_error("put the finalizer on the Tenant", source))
}

async fn let_go(tenant: &Tenant, context: &Context) -> Result<Action, Error> {
    let name = tenant.name_any();
    let failed = |source| api_error("take the finalizer off the Tenant", source);
    let Some(found) = tenants(context).get_metadata_opt(&name).await.map_err(failed)? else {
        return Ok(Action::await_change());
    };
    if found.metadata.uid == tenant.metadata.uid {
        let finalizers: Vec<_> = found.finalizers().iter().filter(|it| *it != FINALIZER).collect();
        let patch = json!({
            "metadata": { "finalizers": finalizers, "resourceVersion": found.metadata.resource_version },
        });
        match tenants(context).patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            answer => drop(answer.map_err(failed)?),
        }
        context.metrics.wrote_tenant("finalizer");
    }
    context.forget(&name);
    tracing::info!(tenant = name, "the tenant is gone");
    Ok(Action::await_change())
}

/// Writes the status where it has changed, and tells of a transition.
async fn write_status(
    tenant: &Tenant,
    previous: TenantStatus,
    current: TenantStatus,
    context: &Context,
) -> Result<(), Error> {
    if previous == current {
        return Ok(());
    }
    let body = manifest(tenant.meta(), &[], Some(&current));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let answer = tenants(context).patch_status(&tenant.name_any(), &params, &Patch::Apply(&body)).await;
    context.metrics.wrote_tenant("status");
    answer.map(drop).map_err(|source| api_error("write the status of the Tenant", source))?;
    for transition in status::events(&previous, &current) {
        publish(tenant, transition.kind, transition.reason, transition.note, context).await;
    }
    context.remember(tenant, current);
    Ok(())
}

/// An event that cannot be written is no reason to fail.
async fn publish(tenant: &Tenant, type_: EventType, reason: String, note: String, context: &Context) {
    let mut note = note;
    // The most that the API server takes is 1024 bytes.
    note.truncate(note.floor_char_boundary(1000));
    let event = Event { type_, reason, note: Some(note), action: "Reconcile".into(), secondary: None };
    if let Err(error) = context.recorder.publish(&event, &tenant.object_ref(&())).await {
        tracing::warn!(tenant = tenant.name_any(), %error, "an event cannot be written");
    }
}

async fn report_unreadable(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    error: &Error,
    context: &Context,
) {
    let mut tenant =
        Tenant::new(metadata.name.as_deref().unwrap_or_default(), keystead_crds::TenantSpec::default());
    tenant.metadata = metadata.clone();
    let previous = context.status_of(&tenant);
    let outcome = Outcome {
        observed: &Observed::default(),
        valid: None,
        route_is_ready: false,
        is_settled: false,
        waits_for: None,
        waits_on: None,
        error: Some(error),
    };
    let current = status::report(&tenant, &previous, &outcome, now());
    if let Err(error) = write_status(&tenant, previous, current, context).await {
        tracing::warn!(tenant = tenant.name_any(), %error, "the status cannot be written");
    }
}

/// A Tenant for server-side apply: with the uid, so that one which has gone is not made anew.
fn manifest(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    finalizers: &[&str],
    status: Option<&TenantStatus>,
) -> Value {
    let mut body = json!({
        "apiVersion": Tenant::api_version(&()),
        "kind": Tenant::kind(&()),
        "metadata": { "name": metadata.name, "uid": metadata.uid },
    });
    if !finalizers.is_empty() {
        body["metadata"]["finalizers"] = json!(finalizers);
    }
    if let Some(status) = status {
        // What is used is written by another manager, when it has changed.
        body["status"] = json!(TenantStatus { usage: None, ..status.clone() });
    }
    body
}

fn tenants(context: &Context) -> Api<Tenant> {
    Api::all(context.client.0.clone())
}

fn api_error(what: &str, source: kube::Error) -> Error {
    Error::Api { what: what.to_owned(), source: Box::new(source) }
}

/// To the second, as Kubernetes writes times.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
