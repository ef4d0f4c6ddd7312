//! The loops: jobs are claimed as places become free, run, and ended; the lease is renewed meanwhile.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use apalis::prelude::{Data, WorkerBuilder};
use futures::{FutureExt as _, future::join_all};
use keystead_kv::queue::{Claim, Claims, Ending, Queue, Wake, kinds::Work};
use keystead_telemetry::{TARGET, continue_from};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    LEASE,
    attempt::Attempt,
    backend::Source,
    ends::Ends,
    health::Health,
    kinds::{self, Context, Failure},
    used::Used,
};

/// How often scheduled jobs are looked for where nobody calls.
const POLL: Duration = Duration::from_secs(1);

/// A claim and the place that it takes.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    claim: Claim,
    _place: Arc<OwnedSemaphorePermit>,
}

/// What every job needs.
#[derive(Debug)]
pub(crate) struct Shared {
    context: Context,
    claims: Claims,
    ends: Ends,
    health: Health,
    /// Bytes that a job may leave when they are compressed.
    max_result_bytes: u64,
    /// Claimed and not ended: what is left here when the grace is over goes back.
    open: Mutex<HashMap<String, Claim>>,
    /// Told of each job that has ended.
    ended: Notify,
    used: Used,
}

impl Shared {
    pub(crate) fn new(
        context: Context,
        claims: Claims,
        health: Health,
        max_result_bytes: u64,
        used: Used,
    ) -> Self {
        let ends = Ends::new(claims.clone());
        let (open, ended) = (Mutex::default(), Notify::new());
        Self { context, claims, ends, health, max_result_bytes, open, ended, used }
    }

    /// Waits until no claimed job is left.
    async fn idle(&self) {
        while !self.open().is_empty() {
            self.ended.notified().await;
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<String, Claim>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works until `stopped`, then lets running jobs end for `grace` and gives the rest back.
pub(crate) async fn work(
    queue: Queue,
    shared: Arc<Shared>,
    concurrency: u32,
    stopped: watch::Receiver<bool>,
    grace: Duration,
) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel(concurrency as usize);
    let renewal = tokio::spawn(renew(shared.clone()));
    let mut fetching = tokio::spawn(fetch(queue, shared.clone(), concurrency, sender, stopped.clone()));
    let worker = WorkerBuilder::new("jobs").backend(Source::new(receiver)).data(shared.clone()).build(handle);
    let mut stop = stopped;
    let ended = tokio::select! {
        ended = worker.run() => ended,
        () = async {
            let _ = stop.wait_for(|stop| *stop).await;
            // apalis' worker does not end with its source: it is done when nothing is claimed any more.
            let drained = async {
                let _ = (&mut fetching).await;
                shared.idle().await;
            };
            let _ = timeout(grace, drained).await;
        } => Ok(()),
    };
    fetching.abort();
    let left: Vec<Claim> = shared.open().drain().map(|(_, claim)| claim).collect();
    // Behind the ends of those that have just ended.
    let released = left.iter().map(async |claim| match shared.ends.end(claim, &Ending::Released).await {
        Ok(true) => tracing::warn!(job = claim.id, "given back: the grace is over"),
        Ok(false) => {}
        Err(error) => tracing::warn!(job = claim.id, %error, "not given back: its lease will run out"),
    });
    join_all(released).await;
    renewal.abort();
    ended.map_err(|error| format!("the worker failed: {error}"))
}

async fn renew(shared: Arc<Shared>) {
    loop {
        sleep(LEASE / 3).await;
        let held: Vec<String> = shared.open().keys().cloned().collect();
        match shared.claims.renew(&held).await {
            Ok(0) => {}
            Ok(jobs) => {
                tracing::warn!(jobs, "jobs that never came, or whose end was not recorded, went back");
            }
            Err(error) => tracing::warn!(%error, "the lease is not renewed"),
        }
    }
}

/// Claims as many jobs as there are places, whenever somebody calls or a second has passed.
async fn fetch(
    queue: Queue,
    shared: Arc<Shared>,
    concurrency: u32,
    sender: mpsc::Sender<Claimed>,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(concurrency as usize));
    let mut wake: Option<Wake> = None;
    let mut pause = Duration::ZERO;
    while !*stopped.borrow() {
        if wake.is_none() {
            wake = Wake::subscribe(&queue).await.ok();
        }
        // One place is waited for; what else is free comes along.
        let Ok(first) = places.clone().acquire_owned().await else { return };
        if *stopped.borrow() {
            return;
        }
        let mut free = vec![first];
        while free.len() < 100
            && let Ok(place) = places.clone().try_acquire_owned()
        {
            free.push(place);
        }
        let limit = u32::try_from(free.len()).unwrap_or(100);
        let left = match shared.claims.fetch(limit).await {
            Ok((claims, left)) => {
                shared.health.set_ready(true);
                pause = Duration::ZERO;
                for (claim, place) in claims.into_iter().zip(free) {
                    shared.open().insert(claim.id.clone(), claim.clone());
                    if sender.send(Claimed { claim, _place: Arc::new(place) }).await.is_err() {
                        return;
                    }
                }
                left
            }
            Err(error) => {
                drop(free);
                shared.health.set_ready(false);
                tracing::warn!(%error, "no jobs can be fetched");
                pause = (pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(2));
                wake = None;
                0
            }
        };
        if left > 0 {
            continue;
        }
        let rest = if pause.is_zero() { POLL } else { jittered(pause) };
        let called = async {
            match &mut wake {
                Some(wake) => wake.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            called = timeout(rest, called) => {
                // Subscribed anew where the connection is gone.
                if called == Ok(false) {
                    wake = None;
                    sleep(Duration::from_millis(100)).await;
                }
            }
            _ = stopped.changed() => {}
        }
    }
}

/// Runs one attempt and ends it in the queue, whatever happens in it.
async fn handle(claimed: Claimed, shared: Data<Arc<Shared>>) {
    let shared = shared.0;
    let claim = claimed.claim.clone();
    let started = Instant::now();
    tracing::debug!(job = claim.id, kind = claim.kind, attempt = claim.attempt, "begun");
    let span = span(&claim);
    shared.used.note(&claim.kind).await;
    let attempt = AssertUnwindSafe(attempt(&claim, &shared)).catch_unwind().instrument(span.clone()).await;
    let (ending, status) = match attempt {
        Ok(Ok(output)) => (Ending::Succeeded { result: output.result }, "success"),
        Ok(Err(Failure::Permanent(error))) => (Ending::Dead { error }, "dead"),
        Ok(Err(Failure::Transient(error))) => (failed(&claim, error, Duration::ZERO), "failure"),
        Ok(Err(Failure::Later(error, least))) => (failed(&claim, error, least), "failure"),
        Err(_) => {
            let error = "the handler panicked: see the worker's log".into();
            (failed(&claim, error, Duration::ZERO), "failure")
        }
    };
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(job = claim.id, kind = claim.kind, attempt = claim.attempt, status, milliseconds, "ended");
    if status != "success" {
        span.record("otel.status_code", "ERROR");
    }
    drop(span);
    shared.health.count(&claim.kind, status);
    // Before it has ended: until then the queue says that the tenant is used.
    shared.used.note(&claim.kind).await;
    end(&shared, &claim, &ending).await;
    shared.open().remove(&claim.id);
    shared.ended.notify_one();
}

/// It goes on with the trace of the request that has queued the job.
fn span(claim: &Claim) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "job",
        otel.name = %format_args!("job {}", claim.kind),
        otel.kind = "consumer",
        otel.status_code = Empty,
        keystead.job.id = claim.id,
        keystead.job.kind = claim.kind,
        keystead.job.attempt = claim.attempt,
    );
    if let Some(trace) = &claim.trace {
        continue_from(&span, trace, true);
    }
    span
}

async fn attempt(claim: &Claim, shared: &Shared) -> Result<kinds::Output, Failure> {
    let work =
        Work::parse(&claim.kind, &claim.payload).map_err(|error| Failure::Permanent(error.to_string()))?;
    let attempt = Attempt::new(&shared.claims, claim, shared.max_result_bytes);
    kinds::run(work, &shared.context, &attempt).await
}

/// Tells the queue, for as long as the lease can hold: what it does not hear is done again.
async fn end(shared: &Shared, claim: &Claim, ending: &Ending) {
    let mut pause = Duration::from_millis(100);
    let started = Instant::now();
    loop {
        match shared.ends.end(claim, ending).await {
            Ok(true) => return,
            Ok(false) => {
                tracing::warn!(job = claim.id, "the lease had run out: somebody else has the job");
                return;
            }
            Err(error) if started.elapsed() < LEASE => {
                tracing::warn!(job = claim.id, %error, "the end is not recorded yet");
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(error) => {
                tracing::error!(job = claim.id, %error, "the end is not recorded: the job will run again");
                return;
            }
        }
    }
}

/// Again after 1, 2, 4 … seconds, or after `least` where that is more, an hour at most, and a little more so that not all come
/// at once.
fn failed(claim: &Claim, error: String, least: Duration) -> Ending {
    let own = Duration::from_secs(1_u64 << claim.attempt.saturating_sub(1).min(12));
    Ending::Failed { error, retry_after: jittered(own.max(least).min(Duration::from_hours(1))) }
}

fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(1.0 + rand::random::<f64>() / 4.0)
}
