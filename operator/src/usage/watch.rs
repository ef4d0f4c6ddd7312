//! Asks every tenant's Redis again and again, and takes in what it says. Writes the status where that says something new, and
//! wakes a pass where the number of workers has to change.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use keystead_crds::{FIELD_MANAGER, Tenant, UsageStatus};
use keystead_route::TenantName;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::reflector::Store,
};
use serde_json::json;
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{sleep, timeout},
};

use super::{
    Usage,
    ask::{NoUsage, Target, ask},
    news,
};
use crate::{
    context::Context,
    kinds::Kind,
    tenant::{
        Guarded, accepted, build::services, names, observe::Observed, rollout::workers, validate::ValidTenant,
    },
};

/// Tenants that are asked at the same time.
const CONCURRENCY: usize = 32;
/// Where workers are scaled by what is read.
const SCALED: Duration = Duration::from_secs(10);
/// Where there is no Redis that could be asked.
const WAITING: Duration = Duration::from_secs(5);
/// How long a write of a status may take.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// When a tenant is asked again, and what of it stands in the status.
struct Round {
    next: Instant,
    written: Option<UsageStatus>,
    /// It could be asked the last time.
    answered: bool,
}

/// Runs until it is aborted. `news` takes the names of tenants for which a pass is needed.
pub async fn run(context: Arc<Context>, tenants: Store<Guarded>, news: UnboundedSender<String>) {
    let mut rounds: HashMap<String, Round> = HashMap::new();
    loop {
        let mut present: Vec<Arc<Guarded>> = tenants.state();
        present.retain(|it| it.meta().deletion_timestamp.is_none());
        let known: HashSet<String> = present.iter().map(|it| it.name_any()).collect();
        for gone in rounds.keys().filter(|name| !known.contains(*name)) {
            context.metrics.forget_usage(gone);
        }
        rounds.retain(|name, _| known.contains(name));
        context.readings.retain(&known);
        let now = Instant::now();
        let all = present.into_iter().map(|tenant| {
            let round = rounds.remove(&tenant.name_any()).unwrap_or_else(|| Round {
                next: now,
                written: tenant.0.as_ref().ok().and_then(|it| it.status.as_ref()?.usage.clone()),
                answered: true,
            });
            (tenant, round)
        });
        let (due, later): (Vec<_>, Vec<_>) = all.partition(|(_, round)| round.next <= now);
        let asked: Vec<_> = stream::iter(due)
            .map(|(tenant, round)| visit(tenant, round, &context, &news))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        rounds.extend(later.into_iter().map(|(tenant, round)| (tenant.name_any(), round)));
        rounds.extend(asked);
        sleep(Duration::from_secs(1)).await;
    }
}

/// Asks one tenant's Redis.
async fn visit(
    tenant: Arc<Guarded>,
    mut round: Round,
    context: &Context,
    news: &UnboundedSender<String>,
) -> (String, Round) {
    let name = tenant.name_any();
    round.next = Instant::now() + WAITING;
    let Ok(tenant) = &tenant.0 else { return (name, round) };
    let Some((observed, valid)) = known(tenant, context) else { return (name, round) };
    let Some(target) = target(&observed, &valid) else { return (name, round) };
    let interval = context.settings.usage_interval;
    let is_scaled = workers::follows(&valid, &context.settings);
    round.next = Instant::now() + if is_scaled { interval.min(SCALED) } else { interval };
    let now = Timestamp::now();
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
    match ask(&target, now_ms).await {
        Ok(usage) => {
            round.answered = true;
            let has_worker = observed.replicas(Kind::Deployment, names::WORKER) > 0;
            context.readings.took(&name, usage, has_worker, (Instant::now(), now));
            context.metrics.uses(&name, &usage, now);
            write(tenant, &mut round, &usage, now, context).await;
            let demand = context.readings.demand(&name, Instant::now());
            if workers::step(&valid, &observed, demand.as_ref(), now).is_some() {
                // The receiver is gone only at the end.
                let _ = news.send(name.clone());
            }
        }
        Err(error) => tell(&name, &mut round, &error),
    }
    (name, round)
}

/// Once each time that it begins.
fn tell(tenant: &str, round: &mut Round, error: &NoUsage) {
    if std::mem::replace(&mut round.answered, false) {
        tracing::info!(tenant, %error, "what the tenant uses cannot be seen now");
    }
}

/// A tenant that has a Redis which ought to answer.
fn known(tenant: &Tenant, context: &Context) -> Option<(Observed, ValidTenant)> {
    let name: TenantName = tenant.name_any().parse().ok()?;
    let observed = Observed::of(&context.cache, &name, &context.settings.gateway_namespace);
    if observed.redis_ready() == 0 {
        return None;
    }
    let chosen = accepted::choose(tenant, &context.settings, &observed, &context.status_of(tenant)).ok()?;
    Some((observed, chosen.valid))
}

fn target(observed: &Observed, valid: &ValidTenant) -> Option<Target> {
    let ca = observed.issued().filter(|_| valid.redis.tls.is_some()).map(|issued| issued.ca());
    Some(Target {
        topology: valid.redis.topology(),
        addresses: observed.addresses(&services(valid)),
        shards: valid.redis.shards().map(|shards| shards.numbers().collect()).unwrap_or_default(),
        password: observed.credentials(valid.needs())?.monitor_password,
        ca,
    })
}

/// By a manager of its own: passes say nothing of the use, and so leave it as it is.
async fn write(tenant: &Tenant, round: &mut Round, usage: &Usage, now: Timestamp, context: &Context) {
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or_default();
    let status = news::status(usage, seconds);
    if !news::is_news(round.written.as_ref(), &status) {
        return;
    }
    let body = json!({
        "apiVersion": Tenant::api_version(&()),
        "kind": Tenant::kind(&()),
        // With the uid: a Tenant that has gone in the meantime is not made anew by this.
        "metadata": { "name": tenant.name_any(), "uid": tenant.metadata.uid },
        "status": { "usage": status },
    });
    let params = PatchParams::apply(&format!("{FIELD_MANAGER}-usage")).force();
    let api: Api<Tenant> = Api::all(context.client.0.clone());
    context.metrics.wrote_tenant("usage");
    let patch = Patch::Apply(&body);
    let name = tenant.name_any();
    // All tenants' readings wait for this.
    match timeout(WRITTEN_WITHIN, api.patch_status(&name, &params, &patch)).await {
        Ok(Ok(_)) => round.written = Some(status),
        Ok(Err(error)) => tracing::warn!(tenant = name, %error, "what it uses cannot be written"),
        Err(_) => tracing::warn!(tenant = name, "what it uses could not be written in time"),
    }
}
