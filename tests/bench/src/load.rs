//! One measurement: wrk or redis-benchmark against one service for a fixed time.

use std::{fmt, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{processes::cpu_microseconds, services::Service};

const SCRIPT: &str = include_str!("../wrk/requests.lua");

/// How hard and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
    pub(crate) keys: u32,
    pub(crate) value_bytes: u32,
    pub(crate) folder: &'a Path,
    /// Process id of the Redis behind all services.
    pub(crate) redis: u32,
}

/// What one measurement gave.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) service: &'static str,
    pub(crate) mix: &'static str,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU of the service per request, in microseconds: user, kernel.
    pub(crate) cpu_us: Option<(f64, f64)>,
    /// CPU of Redis per request, in microseconds.
    pub(crate) redis_us: Option<f64>,
}

#[derive(Deserialize)]
struct WrkSummary {
    requests: u64,
    duration_us: f64,
    p50_us: f64,
    p99_us: f64,
    bad_status: u64,
    broken: u64,
}

#[expect(clippy::cast_precision_loss, reason = "figures of a benchmark are far below 2^52")]
impl Load<'_> {
    /// A second of the same without a measure: what a turn of others has cooled down, caches and processors, is not this one's.
    pub(crate) fn warm_up(&self, service: &Service, write_percent: u32) -> Result<()> {
        self.ask(service, write_percent, 1).map(drop)
    }

    pub(crate) fn wrk(&self, service: &Service, mix: &'static str, write_percent: u32) -> Result<Sample> {
        let before = cpu_microseconds(&service.pids)?;
        let redis_before = cpu_microseconds(&[self.redis])?;
        let summary = self.ask(service, write_percent, self.seconds)?;
        let after = cpu_microseconds(&service.pids)?;
        let redis_after = cpu_microseconds(&[self.redis])?;
        let in_redis = redis_after.0 + redis_after.1 - redis_before.0 - redis_before.1;
        let failed = summary.bad_status + summary.broken;
        if failed > 0 {
            let (name, all) = (service.name, summary.requests);
            bail!("{name} answered {failed} of {all} requests wrongly: the comparison would be void");
        }
        let per_request = |used: u64| used as f64 / (summary.requests.max(1) as f64);
        Ok(Sample {
            service: service.name,
            mix,
            per_second: summary.requests as f64 / summary.duration_us * 1e6,
            p50_us: summary.p50_us,
            p99_us: summary.p99_us,
            cpu_us: Some((per_request(after.0 - before.0), per_request(after.1 - before.1))),
            redis_us: Some(per_request(in_redis)),
        })
    }

    fn benchmark(&self, port: u16, requests: u64) -> Result<String> {
        let run = Command::new("redis-benchmark")
            .args(["-t", "get", "--csv", "-p"])
            .arg(port.to_string())
            .args(["-c", &self.connections.to_string(), "-n", &requests.to_string()])
            .args(["-d", &self.value_bytes.to_string(), "-r", &self.keys.to_string()])
            .output()
            .context("starting redis-benchmark (Debian package redis-tools)")?;
        Ok(String::from_utf8_lossy(&run.stdout).into_owned())
    }

    fn ask(&self, service: &Service, write_percent: u32, seconds: u32) -> Result<WrkSummary> {
        let script = self.folder.join("requests.lua");
        let out = self.folder.join("wrk.json");
        std::fs::write(&script, SCRIPT)?;
        let run = Command::new("wrk")
            .args(["-t1", "--latency"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{seconds}s"))
            .arg("-s")
            .arg(&script)
            .arg(format!("http://127.0.0.1:{}", service.port))
            .env("BENCH_READ", &service.read_path)
            .env("BENCH_WRITE", &service.write_path)
            .env("BENCH_KEYS", self.keys.to_string())
            .env("BENCH_WRITE_PERCENT", write_percent.to_string())
            .env("BENCH_BODY", &service.write_body)
            .env("BENCH_TOKENS", &service.tokens)
            .env("BENCH_OUT", &out)
            .output()
            .context("starting wrk (Debian package wrk)")?;
        if !run.status.success() {
            bail!("wrk failed: {}", String::from_utf8_lossy(&run.stderr));
        }
        serde_json::from_slice(&std::fs::read(&out)?).context("wrk's summary")
    }

    /// What Redis itself gives without a gateway: GET, no pipelining, as many connections.
    pub(crate) fn redis_benchmark(&self, port: u16) -> Result<Sample> {
        // It counts requests, not seconds: enough of them for about as long as the others run.
        let requests = u64::from(self.seconds) * 60_000;
        self.benchmark(port, 60_000)?;
        let text = self.benchmark(port, requests)?;
        let row =
            text.lines().find(|line| line.starts_with("\"GET\"")).context("redis-benchmark: no row GET")?;
        let number = |column: usize| -> Result<f64> {
            let field = row.split(',').nth(column).context("redis-benchmark: a short row")?;
            Ok(field.trim_matches('"').parse()?)
        };
        // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
        Ok(Sample {
            service: "redis-benchmark",
            mix: "get",
            per_second: number(1)?,
            p50_us: number(4)? * 1000.0,
            p99_us: number(6)? * 1000.0,
            cpu_us: None,
            redis_us: None,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:<12} {:<16} {:>9.0} requests/s  p50 {:>6.0} µs  p99 {:>6.0} µs",
            self.mix, self.service, self.per_second, self.p50_us, self.p99_us
        )?;
        if let Some((user, kernel)) = self.cpu_us {
            write!(out, "  CPU {user:.1} + {kernel:.1} µs")?;
        }
        if let Some(redis) = self.redis_us {
            write!(out, ", Redis {redis:.1} µs")?;
        }
        Ok(())
    }
}
