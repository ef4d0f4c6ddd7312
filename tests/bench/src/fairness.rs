//! What one tenant's misfortune costs, its own requests and another tenant's; what a batch saves; what a long list costs.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use keystead_route::Algorithm;
use serde_json::{Value, json};
use ureq::Agent;

use crate::{
    figures::Figures,
    load::Load,
    services::{Service, register, route, start_gateway, start_redis_at},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The gateway's binary, built for release.
    #[arg(long)]
    gateway: PathBuf,
    /// Folder for `fairness.json`.
    #[arg(long)]
    out: PathBuf,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    /// Keys of the long list.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..=5_000_000))]
    keys: u64,
}

/// One tenant through the gateway.
struct Tenant {
    agent: Agent,
    base: String,
    token: String,
    service: Service,
}

impl Tenant {
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, String)> {
        let url = format!("{}{path}", self.base);
        let bearer = format!("Bearer {}", self.token);
        let mut answer = match body {
            None => self.agent.get(&url).header("Authorization", bearer).call()?,
            Some(body) if method == "PUT" => {
                self.agent.put(&url).header("Authorization", bearer).send_json(body)?
            }
            Some(body) => self.agent.post(&url).header("Authorization", bearer).send_json(body)?,
        };
        Ok((answer.status().as_u16(), answer.body_mut().with_config().limit(64 << 20).read_to_string()?))
    }

    /// Status and time of a read.
    fn read(&self) -> Result<(u16, Duration)> {
        let started = Instant::now();
        let (status, _) = self.request("GET", "/api/v1/kv/key-1", None)?;
        Ok((status, started.elapsed()))
    }

    /// The 99th percentile of reads, one each 5 ms for a while.
    fn quiet_p99(&self, time: Duration) -> Result<f64> {
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let (status, took) = self.read()?;
            ensure!(status == 200, "a quiet tenant's read was answered {status}");
            times.push(took.as_secs_f64() * 1e3);
            thread::sleep(Duration::from_millis(5).saturating_sub(took));
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() * 99 / 100])
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut redis, other_redis) = (start_redis_at(folder.path(), 0)?, start_redis_at(folder.path(), 0)?);
    let mut routes = vec![
        route("unlucky", redis.port, Algorithm::HS256)?,
        route("lucky", other_redis.port, Algorithm::HS256)?,
    ];
    let mut flooding = route("flooding", other_redis.port, Algorithm::HS256)?;
    (flooding.limits.requests_per_second, flooding.limits.burst) = (Some(5000), Some(5000));
    routes.push(flooding);
    routes.push(route("unbounded", other_redis.port, Algorithm::HS256)?);
    let gateway = start_gateway("gateway", &arguments.gateway, folder.path(), &routes)?;
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent();
    let tenant = |name: &'static str| -> Result<Tenant> {
        let token = register(gateway.port, name)?;
        let tokens = folder.path().join(format!("{name}.token"));
        std::fs::write(&tokens, &token)?;
        let service = Service {
            name,
            takes_writes: false,
            port: gateway.port,
            pids: vec![gateway.pid()],
            read_path: "/api/v1/kv/key-%d".into(),
            write_path: String::new(),
            write_body: tokens.clone(),
            tokens,
        };
        let tenant =
            Tenant { agent: agent.clone(), base: format!("http://{}", gateway.address()), token, service };
        let written = tenant.request("PUT", "/api/v1/kv/key-1", Some(&json!({"value": "v".repeat(1022)})))?;
        ensure!([200, 201].contains(&written.0), "{}", written.1);
        Ok(tenant)
    };
    let (unlucky, lucky, flooding, unbounded) =
        (tenant("unlucky")?, tenant("lucky")?, tenant("flooding")?, tenant("unbounded")?);
    let load = Load {
        seconds: 3,
        connections: 32,
        keys: 1,
        value_bytes: 1024,
        folder: folder.path(),
        redis: other_redis.pid(),
    };
    let mut figures = Figures::default();
    for _ in 0..arguments.repetitions {
        let port = redis.port;
        drop(redis);
        let (status, took) = unlucky.read()?;
        ensure!(status == 503, "a dead Redis was answered {status}");
        figures.note("dead_ms_to_503", took.as_secs_f64() * 1e3);
        redis = start_redis_at(folder.path(), port)?;
        let back = Instant::now();
        // The key is gone with the process: 404 comes from Redis too.
        while unlucky.read()?.0 == 503 {
            ensure!(back.elapsed() < Duration::from_secs(10), "the gateway does not find Redis again");
        }
        figures.note("back_ms_to_first_answer", back.elapsed().as_secs_f64() * 1e3);

        let alone = load.wrk(&lucky.service, "alone", 0)?.per_second;
        redis.signal("-STOP")?;
        let (status, took) = unlucky.read()?;
        ensure!(status == 504, "a stopped Redis was answered {status}");
        figures.note("stopped_ms_over_the_deadline", took.as_secs_f64() * 1e3 - 500.0);
        let beside = beside(&unlucky, || Ok(load.wrk(&lucky.service, "beside", 0)?.per_second));
        redis.signal("-CONT")?;
        figures.note("rate_kept_beside_a_stopped_redis", beside? / alone);
        while unlucky.read()?.0 >= 500 {
            thread::sleep(Duration::from_millis(20));
        }

        let alone = lucky.quiet_p99(Duration::from_secs(3))?;
        figures.note("quiet_p99_ms_alone", alone);
        for (name, noisy) in [
            ("quiet_p99_beside_a_flood_with_a_rate", &flooding),
            ("quiet_p99_beside_a_flood_without_one", &unbounded),
        ] {
            let harder = Load { connections: 64, ..load };
            let flooded = thread::scope(|scope| {
                let flood = scope.spawn(|| harder.wrk(&noisy.service, "flood", 0));
                // The generator takes a moment to begin.
                thread::sleep(Duration::from_millis(500));
                let p99 = lucky.quiet_p99(Duration::from_secs(2));
                let _ = flood.join();
                p99
            })?;
            figures.note(name, flooded / alone);
        }

        let single = rate(|number| {
            lucky.request("PUT", &format!("/api/v1/kv/single-{number}"), Some(&json!({"value": number})))?;
            Ok(1)
        })?;
        let batched = rate(|number| {
            let item = |at: u64| json!({"key": format!("batch-{}", number * 100 + at), "value": at});
            let items: Vec<Value> = (0..100).map(item).collect();
            lucky.request("POST", "/api/v1/kv/batch", Some(&json!({"items": items})))?;
            Ok(100)
        })?;
        figures.note("batch_of_100_keys_per_second_over_single", batched / single);
    }
    lists(&unbounded, arguments, &mut figures)?;
    figures.write(&arguments.out, "fairness.json", arguments.repetitions)
}

/// Does something while clients of a tenant go on asking.
fn beside<T>(noisy: &Tenant, what: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = noisy.read();
                    // A client that is told to wait a second and waits far less.
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let result = what();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// How many a second, over two seconds.
fn rate(mut once: impl FnMut(u64) -> Result<u32>) -> Result<f64> {
    let (begun, mut done) = (Instant::now(), 0);
    let mut number = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        done += once(number)?;
        number += 1;
    }
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}

/// 1,000 keys of a long list by cursor, at its start and near its end.
fn lists(tenant: &Tenant, arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let name = |number: u64| format!("list-{number:07}");
    eprintln!("filling {} keys", arguments.keys);
    for from in (0..arguments.keys).step_by(1000) {
        let items: Vec<Value> = (from..from + 1000).map(|n| json!({"key": name(n), "value": n})).collect();
        let (status, body) = tenant.request("POST", "/api/v1/kv/batch", Some(&json!({"items": items})))?;
        ensure!(status == 200, "{body}");
    }
    let cursor = |key: &str| {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
        BASE64_URL_SAFE_NO_PAD.encode(key)
    };
    let (first, last) = (cursor(&name(0)), cursor(&name(arguments.keys - 1100)));
    for _ in 0..20 {
        for (at, cursor) in [("list_1000_ms_at_the_start", &first), ("list_1000_ms_at_the_end", &last)] {
            let started = Instant::now();
            let (status, body) =
                tenant.request("GET", &format!("/api/v1/kv?limit=1000&cursor={cursor}"), None)?;
            let took = started.elapsed().as_secs_f64() * 1e3;
            let items = serde_json::from_str::<Value>(&body)?["items"].as_array().map_or(0, Vec::len);
            ensure!(status == 200 && items == 1000, "{status}: {items} keys");
            figures.note(at, took);
        }
    }
    Ok(())
}
