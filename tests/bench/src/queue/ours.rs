//! The queue of this tree on one Redis: a client of the kv library, the real worker, and a loop around the library's claims.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use keystead_kv::{
    ConnectOptions, Connection,
    queue::{Claims, Ending, NewJob, Queue},
};
use keystead_route::Endpoint;
use tokio::{runtime::Runtime, task::JoinSet};

use super::asked::{Ran, Waiting};
use crate::processes::{Process, free_port};

/// No worker knows it: a job is claimed, looked at and ended as dead, and nothing else is done for it.
pub(crate) const EMPTY: &str = "bench.empty";
/// The cheapest that a worker does: one script call where nothing has expired.
pub(crate) const SWEEP: &str = "ttl.sweep";

/// As a worker has them by default.
const CONCURRENCY: u32 = 16;
const LEASE: std::time::Duration = std::time::Duration::from_secs(30);
/// Jobs that one call of [`Ours::fill`] makes.
const FILL: u64 = 10_000;

#[derive(Debug)]
pub(crate) struct Ours<'a> {
    redis: &'a Process,
    folder: &'a Path,
    queue: Queue,
    /// Of one thread, as each of the gateway's.
    runtime: Runtime,
}

impl<'a> Ours<'a> {
    pub(crate) fn new(redis: &'a Process, folder: &'a Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::Standalone { address: redis.address().to_string() };
        let connection =
            runtime.block_on(async { Connection::open(ConnectOptions::new(endpoint, None, None)) })?;
        Ok(Self { redis, folder, queue: Queue::new(connection), runtime })
    }

    /// Has so many tasks queue jobs, each one by one; gives how many a second.
    pub(crate) fn enqueue(&self, kind: &'static str, jobs: u64, callers: u64) -> Result<f64> {
        let some = |count| {
            let queue = self.queue.clone();
            async move {
                let job = NewJob::new(kind, "null");
                for _ in 0..count {
                    queue.enqueue(&job).await?;
                }
                anyhow::Ok(())
            }
        };
        self.runtime.block_on(async {
            // Those that are left over, at least one: the connection is there before the time begins.
            let rest = (jobs - 1) % callers + 1;
            some(rest).await?;
            let started = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..callers {
                tasks.spawn(some((jobs - rest) / callers));
            }
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            Ok(rate(jobs - rest, started))
        })
    }

    /// Has Redis itself make jobs that wait.
    pub(crate) fn fill(&self, jobs: u64) -> Result<()> {
        for batch in 0..jobs.div_ceil(FILL) {
            let count = FILL.min(jobs - batch * FILL);
            let run = Command::new("redis-cli")
                .args(["-p", &self.redis.port.to_string(), "EVAL", include_str!("fill.lua"), "0"])
                .args([&format!("fill:{batch}"), &count.to_string(), EMPTY])
                .output()?;
            let error = String::from_utf8_lossy(&run.stdout).into_owned();
            ensure!(run.status.success() && !error.contains("ERR"), "filling: {error}");
        }
        Ok(())
    }

    /// Has a real worker run so many of those that wait.
    pub(crate) fn run(&self, worker: &Path, jobs: u64) -> Result<Ran> {
        let mut waiting = Waiting::in_redis(self.redis, "ZCARD jobs:{j}:ready")?;
        waiting.ran(jobs, self.redis, || {
            let port = free_port()?;
            let mut command = Command::new(worker);
            command
                .args(["--tenant", "bench", "--log", "warn", "--log-format", "text"])
                .args(["--redis-address", &self.redis.address().to_string()])
                .args(["--listen", &format!("127.0.0.1:{port}")])
                .args(["--concurrency", &CONCURRENCY.to_string()])
                .args(["--sweep-every", "86400", "--usage-every", "86400"]);
            Process::start("worker", &mut command, port, self.folder)
        })
    }

    /// Claims and ends all that wait with the library alone; gives how many a second.
    pub(crate) fn run_in_library(&self) -> Result<f64> {
        let claims = Claims::new(&self.queue, "bench".to_owned(), LEASE);
        self.runtime.block_on(async {
            let (started, mut done) = (Instant::now(), 0);
            loop {
                let (some, left) = claims.fetch(CONCURRENCY).await?;
                let ending = Ending::Succeeded { result: String::new() };
                let ends: Vec<_> = some.iter().map(|claim| (claim, &ending)).collect();
                for ended in claims.end_all(&ends).await? {
                    ensure!(ended, "somebody else has the job");
                    done += 1;
                }
                if left == 0 {
                    return Ok(rate(done, started));
                }
            }
        })
    }
}

/// How many a second.
pub(crate) fn rate(done: u64, since: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "figures of a benchmark are far below 2^52")]
    let done = done as f64;
    done / since.elapsed().as_secs_f64()
}

/// Queues jobs over the gateway's REST one by one over one connection; gives how many a second.
pub(crate) fn enqueue_by_rest(gateway: &Process, token: &str, jobs: u64) -> Result<f64> {
    let agent = ureq::agent();
    let queue = || -> Result<()> {
        let mut answer = agent
            .post(format!("http://{}/api/v1/jobs", gateway.address()))
            .header("Authorization", format!("Bearer {token}"))
            .header("Content-Type", "application/json")
            .send(format!("{{\"kind\":\"{SWEEP}\"}}"))
            .context("queueing a job over REST")?;
        // Read, so that the connection is used again.
        answer.body_mut().read_to_vec()?;
        Ok(())
    };
    queue()?;
    let started = Instant::now();
    for _ in 1..jobs {
        queue()?;
    }
    Ok(rate(jobs - 1, started))
}
