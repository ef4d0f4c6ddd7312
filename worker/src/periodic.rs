//! Periodic jobs: every worker asks for the period's job, and the queue takes the first.

use std::time::{Duration, Instant, SystemTime};

use keystead_kv::{
    Store,
    queue::{
        NewJob, Queue,
        kinds::{KV_REENCRYPT, TTL_SWEEP},
    },
};
use keystead_route::Schedule;
use serde_json::json;
use tokio::time::{sleep, sleep_until};

/// Queues a sweep for every period of `every`. The name of the job is its period, so that one runs, however many
/// workers there are and however their clocks differ.
pub(crate) async fn sweeps(queue: Queue, every: Duration) {
    let mut done = None;
    loop {
        let period = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs() / every.as_secs());
        if done != Some(period) {
            let name = format!("{TTL_SWEEP}:{period}");
            match queue.enqueue_once(&NewJob::new(TTL_SWEEP, "null"), &name, every * 3).await {
                Ok(_) => done = Some(period),
                Err(error) => tracing::warn!(%error, "the periodic sweep is not queued yet"),
            }
        }
        sleep((every / 10).min(Duration::from_secs(5))).await;
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
