//! Periodic jobs: every worker asks for the period's job, and the queue takes the first.

use std::time::{Duration, SystemTime};

use keystead_kv::queue::{NewJob, Queue, kinds::TTL_SWEEP};
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
