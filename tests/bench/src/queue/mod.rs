//! The queue beside redis-benchmark and Huey, on the same Redis: what it costs to queue a job and to run one that does nothing,
//! also with a million that wait.

mod asked;
mod huey;
mod ours;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use keystead_route::Algorithm;

use self::{
    asked::Ran,
    huey::{CONSUMERS, Huey},
    ours::{EMPTY, Ours, SWEEP, enqueue_by_rest},
};
use crate::{
    figures::Figures,
    processes::Process,
    services::{register, route, start_gateway, start_redis_at},
};

/// How many queue at the same time, each one by one, where it is not one alone.
const CALLERS: u32 = 16;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The gateway's binary, built for release.
    #[arg(long)]
    gateway: PathBuf,
    /// The worker's binary, built for release.
    #[arg(long)]
    worker: PathBuf,
    /// A Python with the packages of huey/requirements.txt; without it there is no comparison with Huey.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Folder for `queue.json`.
    #[arg(long)]
    out: PathBuf,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    /// Jobs of one measurement.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=500_000))]
    jobs: u64,
    /// Jobs that wait where many wait.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=1_900_000))]
    backlog: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (jobs, worker) = (arguments.jobs, arguments.worker.as_path());
    let folder = tempfile::tempdir()?;
    // Each with the same jobs, but that many wait in the second.
    let (redis, crowded_redis) = (start_redis_at(folder.path(), 0)?, start_redis_at(folder.path(), 0)?);
    let gateway = start_gateway(
        "gateway",
        &arguments.gateway,
        folder.path(),
        &[route("bench", redis.port, Algorithm::HS256)?],
    )?;
    let token = register(gateway.port, "bench")?;
    let (ours, crowded) = (Ours::new(&redis, folder.path())?, Ours::new(&crowded_redis, folder.path())?);
    let huey = arguments.python.as_deref().map(|python| Huey::new(python, folder.path(), &redis));
    let huey = huey.transpose()?;
    // Only so many finished jobs are kept: from then on each one that ends has an old one forgotten.
    eprintln!("running 10,000 jobs on each Redis, then filling {} into one", arguments.backlog);
    for some in [&ours, &crowded] {
        some.enqueue(EMPTY, 10_000, 1)?;
        some.run_in_library()?;
    }
    crowded.fill(arguments.backlog)?;

    let mut figures = Figures::default();
    for repetition in 1..=arguments.repetitions {
        eprintln!("\nrepetition {repetition} of {}", arguments.repetitions);
        figures.note("lpush_per_second", redis_benchmark(&redis, jobs, 1, &["LPUSH", "floor", "job"])?);
        let lmove = ["LMOVE", "floor", "floor", "RIGHT", "LEFT"];
        figures.note("lmove_per_second", redis_benchmark(&redis, jobs, 1, &lmove)?);
        figures.note("lmove_16_clients_per_second", redis_benchmark(&redis, jobs, 16, &lmove)?);
        figures.note(
            "lpush_callers_per_second",
            redis_benchmark(&redis, jobs, CALLERS, &["LPUSH", "floor", "job"])?,
        );
        if let Some(huey) = &huey {
            figures.note("huey_enqueue_callers_per_second", huey.enqueue(jobs, CALLERS.into())?);
            // Away with them, so that each that follows finds the same.
            huey.run(jobs, &CONSUMERS[1].1)?;
            for (name, consumer) in CONSUMERS {
                figures.note("huey_enqueue_per_second", huey.enqueue(jobs, 1)?);
                note(&mut figures, &format!("{name}_run"), huey.run(jobs, &consumer)?);
            }
        }
        figures.note("enqueue_per_second", ours.enqueue(EMPTY, jobs, 1)?);
        note(&mut figures, "run", ours.run(worker, jobs)?);
        figures.note("enqueue_callers_per_second", ours.enqueue(EMPTY, jobs, CALLERS.into())?);
        ours.run(worker, jobs)?;
        figures.note("enqueue_crowded_per_second", crowded.enqueue(EMPTY, jobs, 1)?);
        note(&mut figures, "run_crowded", crowded.run(worker, jobs)?);
        figures.note("enqueue_by_rest_per_second", enqueue_by_rest(&gateway, &token, jobs / 4)?);
        ours.enqueue(SWEEP, jobs - jobs / 4, 1)?;
        note(&mut figures, "run_sweep", ours.run(worker, jobs)?);
        ours.enqueue(EMPTY, jobs, 1)?;
        figures.note("run_in_library_per_second", ours.run_in_library()?);
    }
    for (name, of, over) in [
        ("enqueue_vs_huey", "enqueue_per_second", "huey_enqueue_per_second"),
        ("enqueue_callers_vs_huey", "enqueue_callers_per_second", "huey_enqueue_callers_per_second"),
        ("enqueue_callers_vs_lpush", "enqueue_callers_per_second", "lpush_callers_per_second"),
        ("enqueue_by_rest_vs_huey", "enqueue_by_rest_per_second", "huey_enqueue_per_second"),
        ("enqueue_vs_lpush", "enqueue_per_second", "lpush_per_second"),
        ("run_vs_huey", "run_per_second", "huey_run_per_second"),
        ("run_vs_huey_2_processes", "run_per_second", "huey_2_processes_run_per_second"),
        ("run_sweep_vs_huey", "run_sweep_per_second", "huey_run_per_second"),
        ("run_in_library_vs_huey", "run_in_library_per_second", "huey_run_per_second"),
        ("run_vs_lmove", "run_per_second", "lmove_per_second"),
        ("run_vs_lmove_16_clients", "run_per_second", "lmove_16_clients_per_second"),
        ("enqueue_kept_when_crowded", "enqueue_crowded_per_second", "enqueue_per_second"),
        ("run_kept_when_crowded", "run_crowded_per_second", "run_per_second"),
    ] {
        figures.ratio(name, of, over);
    }
    figures.write(&arguments.out, "queue.json", arguments.repetitions)
}

fn note(figures: &mut Figures, name: &str, ran: Ran) {
    figures.note(&format!("{name}_per_second"), ran.per_second);
    figures.note(&format!("{name}_cpu_us"), ran.runner_us);
    figures.note(&format!("{name}_redis_cpu_us"), ran.redis_us);
}

/// What Redis itself does of a command, a second.
fn redis_benchmark(redis: &Process, requests: u64, clients: u32, command: &[&str]) -> Result<f64> {
    let run = Command::new("redis-benchmark")
        .args([
            "-p",
            &redis.port.to_string(),
            "-c",
            &clients.to_string(),
            "-n",
            &requests.to_string(),
            "--csv",
        ])
        .args(command)
        .output()
        .context("starting redis-benchmark (Debian package redis-tools)")?;
    ensure!(run.status.success(), "redis-benchmark: {}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8_lossy(&run.stdout);
    // "test","rps",…
    let row = text.lines().last().context("redis-benchmark says nothing")?;
    let field = row.rsplit("\",\"").nth(6).with_context(|| format!("redis-benchmark: {row}"))?;
    field.parse().with_context(|| format!("redis-benchmark: {row}"))
}
