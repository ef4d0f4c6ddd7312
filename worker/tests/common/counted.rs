//! Jobs whose effect is counted: each imports one entry, whose version says how often that was done.

use std::{
    env,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use keystead_kv::{
    Error, Store,
    queue::{FINISHED_KEPT, NewJob, Queue},
};

/// The lease of a killed worker has to run out, and a busy machine is slow.
const PATIENCE: Duration = Duration::from_mins(5);

/// How many jobs a test of faults has: `KEYSTEAD_FAULT_JOBS`, else so few that it ends within a minute or so.
pub fn jobs() -> usize {
    let jobs = env::var("KEYSTEAD_FAULT_JOBS").map_or(Ok(2000), |text| text.parse());
    let jobs = jobs.expect("KEYSTEAD_FAULT_JOBS is a number");
    assert!(jobs <= FINISHED_KEPT as usize, "of more than {FINISHED_KEPT} not each would be kept");
    jobs
}

fn key(number: usize) -> String {
    format!("counted-{number}")
}

/// Queues the job of this number; gives its id.
pub async fn enqueue(queue: &Queue, number: usize) -> Result<String, Error> {
    let mut input = queue.begin_input();
    let line = format!("{{\"key\":\"{}\",\"value\":{number}}}\n", key(number));
    assert!(input.add(line.as_bytes(), true).await?, "one line is not too large");
    let payload = format!(r#"{{"from":"{}"}}"#, input.id());
    let job = NewJob { max_attempts: 25, ..NewJob::new("kv.import", &payload) };
    Ok(queue.enqueue(&job).await?.id)
}

/// Queues so many; gives their ids in the order of their numbers.
pub async fn enqueue_all(queue: &Queue, count: usize) -> Vec<String> {
    let queued = stream::iter(0..count).map(|number| enqueue(queue, number)).buffered(32);
    queued.map(|queued| queued.expect("a Redis that is well takes each job")).collect().await
}

/// How many jobs there are of each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Scheduled, pending or running.
    pub open: u64,
    pub succeeded: u64,
    /// Dead or cancelled.
    pub failed: u64,
}

/// Waits until the queue is as wanted; whatever Redis answers meanwhile.
pub async fn until(queue: &Queue, what: &str, is_wanted: impl Fn(Counts) -> bool) -> Counts {
    let started = Instant::now();
    loop {
        let counted = queue.counts().await.map(|statuses| {
            let mut counts = Counts::default();
            for (status, count) in statuses {
                match status.as_str() {
                    "succeeded" => counts.succeeded += count,
                    "dead" | "cancelled" => counts.failed += count,
                    _ => counts.open += count,
                }
            }
            counts
        });
        match counted {
            Ok(counts) if is_wanted(counts) => return counts,
            last => assert!(started.elapsed() < PATIENCE, "{what} does not come; last: {last:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What has become of jobs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Numbers of those whose effect is not there.
    pub lost: Vec<usize>,
    /// Those that were queued and have another end than success.
    pub failed: Vec<String>,
    /// Attempts beyond the first of each.
    pub begun_again: u64,
    /// Effects beyond the first of each.
    pub done_again: u64,
}

/// Looks at each job, by number and id, and at its effect.
pub async fn tally(queue: &Queue, store: &Store, jobs: &[(usize, String)]) -> Tally {
    let mut tally = Tally::default();
    for some in jobs.chunks(200) {
        let ids: Vec<String> = some.iter().map(|(_, id)| id.clone()).collect();
        // The oldest records may be gone: only so many are kept.
        for job in queue.get_all(&ids).await.unwrap() {
            tally.begun_again += u64::from(job.attempts.saturating_sub(1));
            if job.status != "succeeded" {
                tally.failed.push(format!("{job:?}"));
            }
        }
    }
    let mut entries =
        stream::iter(jobs).map(async |(number, _)| (*number, store.get(&key(*number)).await)).buffered(32);
    while let Some((number, entry)) = entries.next().await {
        match entry.unwrap() {
            Some(entry) => tally.done_again += entry.metadata.version - 1,
            None => tally.lost.push(number),
        }
    }
    tally
}
