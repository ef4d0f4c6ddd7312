//! Periodic jobs: every worker asks for the period's job, and the queue takes the first.

use std::time::{Duration, SystemTime};

use keystead_kv::queue::{NewJob, Queue, kinds::TTL_SWEEP};
use keystead_route::Schedule;
use tokio::time::sleep;

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
