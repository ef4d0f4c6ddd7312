//! Benchmarks side by side: the gateway and its rivals take turns in one run; what counts are the ratios.
//!
//! `keystead-bench gateway` starts a Redis, the gateway, a bare axum server that answers the same bytes (the floor)
//! webdis and `FastAPI`, all on loopback, and lets wrk and redis-benchmark ask each in turn. It prints one table and writes
//! `gateway.json`. Absolute figures belong to the machine and the minute; nothing here is a test.

mod audit;
mod bulk;
mod fairness;
mod figures;
mod floor;
mod load;
mod memory;
mod processes;
mod queue;
mod ready;
mod report;
mod services;
mod sleep;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::{
    load::{Load, Sample},
    services::Stand,
};

#[derive(Debug, Parser)]
#[command(about = "Benchmarks of Keystead, side by side with what else there is")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The gateway beside a bare axum server, webdis and redis-benchmark.
    Gateway(GatewayArguments),
    /// What one tenant's dead, stopped or flooded Redis costs it and another; batches; long lists.
    Fairness(fairness::Arguments),
    /// Memory of a gateway with many tenants that it knows, and that it is connected to.
    Memory(memory::Arguments),
    /// Queueing and running empty jobs beside redis-benchmark and Huey, also with many that wait.
    Queue(queue::Arguments),
    /// Export and import of many entries by the worker, and its memory.
    Bulk(bulk::Arguments),
    /// What the audit log costs the gateway's reads and writes.
    Audit(audit::Arguments),
    /// Apply to Ready of a Tenant beside a bare Redis StatefulSet, on the cluster of KUBECONFIG.
    Ready(ready::Arguments),
    /// A GET of one of many tenants that sleep beside the start of a bare Redis pod, on the cluster of KUBECONFIG.
    Sleep(sleep::Arguments),
    /// The bare axum server: answers each request with the bytes of a file. Used by `gateway`.
    #[command(hide = true)]
    Floor(floor::Arguments),
}

#[derive(Debug, clap::Args)]
struct GatewayArguments {
    /// The gateway's binary, built for release.
    #[arg(long)]
    gateway: PathBuf,
    /// A Python with the packages of fastapi/requirements.txt; without it there is no comparison with `FastAPI`.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Folder for `gateway.json`.
    #[arg(long)]
    out: PathBuf,
    /// How often each service is measured; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    /// Seconds of load per measurement.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Open connections of the load generator.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Size of a value, in bytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(3..=1_000_000))]
    value_bytes: u32,
    /// Number of keys.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keys: u32,
}

/// How often tokens of one kind are measured in each repetition, for a second, beside those of another.
const TURNS_OF_TOKENS: u32 = 6;

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Gateway(arguments) => gateway(&arguments),
        Command::Fairness(arguments) => fairness::run(&arguments),
        Command::Memory(arguments) => memory::run(&arguments),
        Command::Queue(arguments) => queue::run(&arguments),
        Command::Bulk(arguments) => bulk::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Ready(arguments) => ready::run(&arguments),
        Command::Sleep(arguments) => sleep::run(&arguments),
        Command::Floor(arguments) => floor::run(&arguments),
    }
}

fn gateway(arguments: &GatewayArguments) -> Result<()> {
    let python = arguments.python.as_deref();
    let stand = Stand::start(&arguments.gateway, python, arguments.keys, arguments.value_bytes)?;
    let load = Load {
        seconds: arguments.seconds,
        connections: arguments.connections,
        keys: arguments.keys,
        value_bytes: arguments.value_bytes,
        folder: stand.folder(),
        redis: stand.redis_pid(),
    };
    let mut samples: Vec<Sample> = Vec::new();
    for repetition in 1..=arguments.repetitions {
        for (mix, write_percent) in [("get", 0), ("mixed_90_10", 10)] {
            for service in stand.services().iter().filter(|it| it.takes_writes || write_percent == 0) {
                load.warm_up(service, write_percent)?;
                let sample = load.wrk(service, mix, write_percent)?;
                eprintln!("{repetition}/{}  {sample}", arguments.repetitions);
                samples.push(sample);
            }
            if mix == "get" {
                let sample = load.redis_benchmark(stand.redis_port())?;
                eprintln!("{repetition}/{}  {sample}", arguments.repetitions);
                samples.push(sample);
            }
        }
        let short = Load { seconds: 1, ..load };
        let [first, second] = stand.by_tokens();
        for _ in 0..TURNS_OF_TOKENS / 2 {
            for service in [first, second, second, first] {
                let sample = short.wrk(service, "tokens", 0)?;
                eprintln!("{repetition}/{}  {sample}", arguments.repetitions);
                samples.push(sample);
            }
        }
    }
    let report = report::Report::of(&samples, arguments.repetitions);
    println!("{report}");
    std::fs::create_dir_all(&arguments.out)?;
    let path = arguments.out.join("gateway.json");
    std::fs::write(&path, serde_json::to_string_pretty(&report.to_json())? + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}
