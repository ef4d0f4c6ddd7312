//! Periodic jobs: every worker asks for the period's job, and the queue takes the first.

use std::time::{Duration, Instant, SystemTime};

use keystead_kv::{
    Store,
    audit::AuditLog,
    queue::{
        NewJob, Queue,
        kinds::{AUDIT_FLUSH, KV_REENCRYPT},
    },
};
use keystead_route::Schedule;
use serde_json::json;
use tokio::time::{sleep, sleep_until};

/// Queues a job of this kind for every period of `every`. The name of the job is its period, so that one runs, however many
/// workers there are and however their clocks differ.
pub(crate) async fn each(kind: &'static str, queue: Queue, every: Duration) {
    let mut done = None;
    loop {
        let period = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs() / every.as_secs());
        if done != Some(period) {
            let name = format!("{kind}:{period}");
            match queue.enqueue_once(&NewJob::new(kind, "null"), &name, every * 3).await {
                Ok(_) => done = Some(period),
                Err(error) => tracing::warn!(%error, kind, "a periodic job is not queued yet"),
            }
        }
        sleep((every / 10).min(Duration::from_secs(5))).await;
    }
}

/// Queues the job that sends the audit log, once a period, where there is something to send and it is not put off.
pub(crate) async fn audit(queue: Queue, log: AuditLog, every: Duration) {
    loop {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        match log.backlog().await {
            Ok(backlog) if backlog.unsent > 0 && u128::from(backlog.retry_at) <= now.as_millis() => {
                let name = format!("{AUDIT_FLUSH}:{}", now.as_secs() / every.as_secs());
                // The next period is the next attempt.
                let job = NewJob { max_attempts: 1, ..NewJob::new(AUDIT_FLUSH, "null") };
                if let Err(error) = queue.enqueue_once(&job, &name, every * 3).await {
                    tracing::warn!(%error, "the audit log is not sent yet");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "whether the audit log is to be sent is not known yet"),
        }
        sleep((every / 2).min(Duration::from_secs(5))).await;
    }
}

/// Queues the job that writes values anew, for as long as some may not be as the keys want it: after a change of the keys,
/// after encryption was turned on or off, and once a day, for what somebody has written who knew less.
pub(crate) async fn reencryption(queue: Queue, store: Store, keys_settled: Instant) {
    // Until then other workers may have other keys.
    sleep_until(keys_settled.into()).await;
    let target = store.target();
    loop {
        match store.is_resealed().await {
            Ok(true) => {}
            Ok(false) => {
                // One at a time, however many workers there are; another where the last came to nothing.
                let period = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs() / 600);
                let name = format!("{KV_REENCRYPT}:{target}:{period}");
                let job = NewJob {
                    max_attempts: 25,
                    ..NewJob::new(KV_REENCRYPT, &json!({"target": target}).to_string())
                };
                if let Err(error) = queue.enqueue_once(&job, &name, Duration::from_hours(1)).await {
                    tracing::warn!(%error, "the re-encryption is not queued yet");
                }
            }
            Err(error) => tracing::warn!(%error, "whether values are to be encrypted anew is not known yet"),
        }
        sleep(Duration::from_secs(30)).await;
    }
}

/// Minutes that are made up for after a start: a worker that was replaced misses nothing.
const MAKE_UP: u64 = 5;

/// Queues the job of each schedule for every minute in which it is due. The name of the job is its schedule and the
/// minute, so that one runs, however many workers there are.
pub(crate) async fn schedules(queue: Queue, schedules: Vec<Schedule>) {
    if schedules.is_empty() {
        return;
    }
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs() / 60);
    let mut next = now().saturating_sub(MAKE_UP);
    loop {
        while next <= now() {
            for schedule in schedules.iter().filter(|schedule| schedule.cron.is_due(next)) {
                let job = NewJob::new(&schedule.kind, &schedule.payload.to_string());
                let name = format!("schedule:{}:{next}", schedule.name);
                while let Err(error) = queue.enqueue_once(&job, &name, Duration::from_hours(1)).await {
                    tracing::warn!(%error, schedule = schedule.name, "a scheduled job is not queued yet");
                    sleep(Duration::from_secs(5)).await;
                }
            }
            next += 1;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Queues what the tenant's own schedules are due for. Each worker looks each second; of those that see the same run, the
/// queue takes one.
pub(crate) async fn own_schedules(queue: Queue) {
    loop {
        match queue.run_schedules().await {
            Ok(0) => {}
            Ok(jobs) => tracing::info!(jobs, "queued by schedule"),
            Err(error) => tracing::warn!(%error, "scheduled jobs are not queued yet"),
        }
        sleep(Duration::from_secs(1)).await;
    }
}
