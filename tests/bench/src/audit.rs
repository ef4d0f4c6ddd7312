//! What the audit log costs: two gateways in turn, one with and one without it, each with a Redis of its own.

use std::path::PathBuf;

use anyhow::Result;
use keystead_route::{Algorithm, Audit};

use crate::{
    figures::Figures,
    load::Load,
    processes::Process,
    services::{Service, fill, register, route, start_gateway, start_redis_at},
};

/// As a Tenant has by default.
const MAX_ENTRIES: u64 = 100_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The gateway's binary, built for release.
    #[arg(long)]
    gateway: PathBuf,
    /// Folder for `audit.json`.
    #[arg(long)]
    out: PathBuf,
    /// How often each is measured; the median counts.
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
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keys: u32,
}

/// A gateway and its Redis.
struct Side {
    service: Service,
    redis: u32,
    _processes: [Process; 2],
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let value = format!("\"{}\"", "v".repeat(arguments.value_bytes as usize - 2));
    let body = folder.path().join("write.json");
    std::fs::write(&body, format!("{{\"value\":{value}}}"))?;
    let side = |name: &'static str, audit: Option<Audit>| -> Result<Side> {
        let redis = start_redis_at(folder.path(), 0)?;
        let mut route = route("bench", redis.port, Algorithm::HS256)?;
        route.audit = audit;
        let gateway = start_gateway(name, &arguments.gateway, folder.path(), &[route])?;
        let token = register(gateway.port, "bench")?;
        fill(&gateway, &token, arguments.keys, &value)?;
        let tokens = folder.path().join(format!("{name}.token"));
        std::fs::write(&tokens, token)?;
        let service = Service {
            name,
            takes_writes: true,
            port: gateway.port,
            pids: vec![gateway.pid()],
            read_path: "/api/v1/kv/key-%d".to_owned(),
            write_path: "/api/v1/kv/key-%d".to_owned(),
            write_body: body.clone(),
            tokens,
        };
        Ok(Side { service, redis: redis.pid(), _processes: [gateway, redis] })
    };
    let sides = [side("plain", None)?, side("audited", Some(Audit { max_entries: MAX_ENTRIES }))?];
    let mut figures = Figures::default();
    for _ in 0..arguments.repetitions {
        for (mix, write_percent) in [("get", 0), ("put", 100)] {
            for side in &sides {
                let load = Load {
                    seconds: arguments.seconds,
                    connections: arguments.connections,
                    keys: arguments.keys,
                    value_bytes: arguments.value_bytes,
                    folder: folder.path(),
                    redis: side.redis,
                };
                let sample = load.wrk(&side.service, mix, write_percent)?;
                let mut note = |figure: &str, value: f64| {
                    figures.note(&format!("{mix}_{}_{figure}", sample.service), value);
                };
                note("per_second", sample.per_second);
                note("p99_us", sample.p99_us);
                note("cpu_us", sample.cpu_us.map_or(f64::NAN, |(user, kernel)| user + kernel));
                note("redis_cpu_us", sample.redis_us.unwrap_or(f64::NAN));
            }
        }
    }
    for mix in ["get", "put"] {
        for figure in ["per_second", "p99_us", "cpu_us", "redis_cpu_us"] {
            let (of, over) = (format!("{mix}_audited_{figure}"), format!("{mix}_plain_{figure}"));
            figures.ratio(&format!("{mix}_{figure}_ratio"), &of, &over);
        }
    }
    figures.write(&arguments.out, "audit.json", arguments.repetitions)
}
