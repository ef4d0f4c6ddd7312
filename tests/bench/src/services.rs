//! The services that are compared, started on loopback around one Redis that holds the same keys for all.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use keystead_route::{
    Algorithm, Auth, Cache, Durability, Endpoint, FORMAT, Limits, Reads, Redis, Route, SignUp, SigningKey,
    Webhooks,
};
use serde_json::{Value, json};

use crate::processes::{Process, free_port};

const PASSWORD: &str = "Benchmark-0-word";
/// 32 bytes that sign nothing but the tokens of a run.
const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// An Ed25519 key for the same (openssl genpkey -algorithm ed25519).
const ED25519: &str = "-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEINl9S0RjJPKNySLBPiqc131GDf8CfI7QSxpFCOnmOQwo\n\
-----END PRIVATE KEY-----\n";

/// Tenants of the part with many.
const TENANTS: usize = 256;
/// Room for all keys of the benchmark in the gateway's cache, in bytes.
const CACHE_BYTES: u64 = 256 * 1024 * 1024;

/// A service as the load generator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    /// Whether writes are mixed in as well.
    pub(crate) takes_writes: bool,
    pub(crate) port: u16,
    /// Whose CPU time is counted.
    pub(crate) pids: Vec<u32>,
    /// Path of a read, with one `%d` for the key's number.
    pub(crate) read_path: String,
    pub(crate) write_path: String,
    /// File with the body of a write.
    pub(crate) write_body: PathBuf,
    /// File with bearer tokens, one a line; empty: none is sent.
    pub(crate) tokens: PathBuf,
}

/// Everything that runs during a benchmark; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Stand {
    services: Vec<Service>,
    by_tokens: [Service; 2],
    // Dropped in this order: the servers before the Redis that they use.
    _servers: Vec<Process>,
    redis: Process,
    folder: tempfile::TempDir,
}

impl Stand {
    pub(crate) fn start(gateway: &Path, python: Option<&Path>, keys: u32, value_bytes: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let redis = start_redis(folder.path())?;
        // Tenants of one Redis share its keys: what they read is the same, what differs is the way there.
        let mut routes = vec![route("bench", redis.port, Algorithm::HS256)?];
        routes.push(route("eddsa", redis.port, Algorithm::EdDSA)?);
        for number in 0..TENANTS {
            routes.push(route(&format!("t{number}"), redis.port, Algorithm::HS256)?);
        }
        let gateway_process = start_gateway("gateway", gateway, folder.path(), &routes)?;
        let mut cached = route("bench", redis.port, Algorithm::HS256)?;
        cached.cache = Some(Cache { max_bytes: CACHE_BYTES });
        let cached = start_gateway("cached", gateway, folder.path(), &[cached])?;
        let gateway = gateway_process;
        let webdis = start_webdis(folder.path(), redis.port)?;

        // A JSON string of exactly `value_bytes` bytes with its quotes.
        let value = format!("\"{}\"", "v".repeat(value_bytes as usize - 2));
        let token = register(gateway.port, "bench")?;
        fill(&gateway, &token, keys, &value)?;
        fill_plain(redis.port, keys, value_bytes)?;
        let (one, none, eddsa, many) = (at("one"), at("none"), at("eddsa"), at("many"));
        std::fs::write(&one, &token)?;
        std::fs::write(&none, "")?;
        std::fs::write(&eddsa, register(gateway.port, "eddsa")?)?;
        let tokens: Vec<String> = (0..TENANTS)
            .map(|number| register(gateway.port, &format!("t{number}")))
            .collect::<Result<_>>()?;
        std::fs::write(&many, tokens.join("\n"))?;

        let kv_body = at("write.json");
        std::fs::write(&kv_body, format!("{{\"value\":{value}}}"))?;
        let plain_body = at("write.txt");
        std::fs::write(&plain_body, &value)?;
        // The floor answers with the very bytes that the gateway answers with.
        let answer = at("answer.json");
        std::fs::write(&answer, read_one(&gateway, &token)?)?;
        let floor = start_floor("floor", folder.path(), &answer, None)?;
        let floor_of_one = start_floor("floor-1-thread", folder.path(), &answer, Some(1))?;

        let rest = |name, process: &Process, takes_writes, tokens: &Path| Service {
            name,
            takes_writes,
            port: process.port,
            pids: vec![process.pid()],
            read_path: "/api/v1/kv/key-%d".to_owned(),
            write_path: "/api/v1/kv/key-%d".to_owned(),
            write_body: kv_body.clone(),
            tokens: tokens.to_owned(),
        };
        let mut services = vec![
            rest("floor", &floor, true, &one),
            rest("floor-1-thread", &floor_of_one, false, &one),
            rest("gateway", &gateway, true, &one),
            Service {
                read_path: "/GET/plain:%d".to_owned(),
                write_path: "/SET/plain:%d".to_owned(),
                write_body: plain_body,
                ..rest("webdis", &webdis, true, &none)
            },
            rest("cached", &cached, false, &one),
            rest("floor-256", &floor, true, &many),
            rest("gateway-256", &gateway, true, &many),
        ];
        let by_tokens = [rest("hs256", &gateway, false, &one), rest("eddsa", &gateway, false, &eddsa)];
        let mut servers = vec![floor, floor_of_one, gateway, cached, webdis];
        if let Some(python) = python {
            let fastapi = start_fastapi(python, folder.path(), redis.port)?;
            services.push(Service { pids: fastapi.pids(), ..rest("fastapi", &fastapi, true, &one) });
            servers.push(fastapi);
        }
        Ok(Self { services, by_tokens, _servers: servers, redis, folder })
    }

    pub(crate) fn services(&self) -> &[Service] {
        &self.services
    }

    /// The gateway with tokens of one kind, and of another: the same path once it knows them, so they are compared in short
    /// turns, between which little else changes.
    pub(crate) fn by_tokens(&self) -> &[Service; 2] {
        &self.by_tokens
    }

    pub(crate) fn redis_port(&self) -> u16 {
        self.redis.port
    }

    pub(crate) fn redis_pid(&self) -> u32 {
        self.redis.pid()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn start_redis(folder: &Path) -> Result<Process> {
    start_redis_at(folder, 0)
}

/// On this port; 0: on a free one.
pub(crate) fn start_redis_at(folder: &Path, port: u16) -> Result<Process> {
    let port = if port == 0 { free_port()? } else { port };
    let mut command = Command::new("redis-server");
    command
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .arg(folder);
    Process::start("redis", &mut command, port, folder)
}

pub(crate) fn start_gateway(
    name: &'static str,
    binary: &Path,
    folder: &Path,
    routes: &[Route],
) -> Result<Process> {
    let routes_folder = folder.join(format!("{name}-routes"));
    std::fs::create_dir(&routes_folder)?;
    for route in routes {
        std::fs::write(routes_folder.join(format!("{}.json", route.tenant)), route.to_json())?;
    }
    let port = free_port()?;
    let mut command = Command::new(binary);
    command
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--metrics-listen", &format!("127.0.0.1:{}", free_port()?)])
        .args(["--admin-listen", "127.0.0.1:0"])
        .arg("--routes")
        .arg(&routes_folder);
    let process = Process::start(name, &mut command, port, folder)?;
    let begun = Instant::now();
    // It listens before it has read its routes.
    while ureq::get(format!("http://127.0.0.1:{port}/health/ready")).call().is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(20), "{name} does not become ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

/// The same service as a Python team would write it, with two workers.
fn start_fastapi(python: &Path, folder: &Path, redis_port: u16) -> Result<Process> {
    std::fs::write(folder.join("fastapi_app.py"), include_str!("../fastapi/app.py"))?;
    let port = free_port()?;
    let mut command = Command::new(python);
    command
        .args([
            "-m",
            "uvicorn",
            "fastapi_app:app",
            "--workers",
            "2",
            "--no-access-log",
            "--log-level",
            "warning",
        ])
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .current_dir(folder)
        .env("BENCH_REDIS_PORT", redis_port.to_string())
        .env("BENCH_SECRET", SECRET);
    Process::start("fastapi", &mut command, port, folder)
}

pub(crate) fn route(tenant: &str, redis_port: u16, algorithm: Algorithm) -> Result<Route> {
    let secret = match algorithm {
        Algorithm::HS256 => SECRET,
        Algorithm::EdDSA => ED25519,
    };
    Ok(Route {
        format: FORMAT,
        tenant: tenant.parse()?,
        suspended: false,
        redis: Redis {
            endpoint: Endpoint::Standalone { address: format!("127.0.0.1:{redis_port}") },
            username: None,
            password: None,
            durability: Durability::Async,
            reads: Reads::Primary,
            restarts: false,
            tls: None,
        },
        limits: Limits { default_ttl_seconds: 0, ..Limits::default() },
        auth: Auth {
            sign_up: SignUp::Open,
            access_token_ttl_seconds: 86_400,
            refresh_token_ttl_seconds: 86_400,
            keys: vec![SigningKey { id: "k1".into(), algorithm, secret: secret.into() }],
            active_key: "k1".into(),
            admin_key_sha256: None,
            issuers: Vec::new(),
        },
        cache: None,
        audit: None,
        encryption: None,
        own_worker: false,
        webhooks: Webhooks::default(),
        hibernation: None,
    })
}

fn start_webdis(folder: &Path, redis_port: u16) -> Result<Process> {
    let port = free_port()?;
    let config = folder.join("webdis.json");
    // As Debian ships it, but for the addresses and the number of threads.
    let document = json!({
        "redis_host": "127.0.0.1", "redis_port": redis_port, "redis_auth": null,
        "http_host": "127.0.0.1", "http_port": port, "threads": 2, "pool_size": 20,
        "daemonize": false, "websockets": false, "database": 0, "verbosity": 0,
        "acl": [], "http_max_request_size": 134_217_728, "logfile": folder.join("webdis.out"),
    });
    std::fs::write(&config, document.to_string())?;
    Process::start("webdis", Command::new("webdis").arg(&config), port, folder)
}

fn start_floor(name: &'static str, folder: &Path, answer: &Path, threads: Option<usize>) -> Result<Process> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", "--listen", &format!("127.0.0.1:{port}"), "--body"]).arg(answer);
    if let Some(threads) = threads {
        command.args(["--threads", &threads.to_string()]);
    }
    Process::start(name, &mut command, port, folder)
}

/// A token of a new user of the tenant. All tenants have one Redis, and so one list of users.
pub(crate) fn register(port: u16, tenant: &str) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}/api/v1/auth/register");
    let mut answer = ureq::post(&url)
        .send_json(json!({
            "username": tenant, "email": format!("{tenant}@example.com"), "password": PASSWORD, "tenant": tenant
        }))
        .with_context(|| format!("registering a user of {tenant}"))?;
    let body: Value = answer.body_mut().read_json()?;
    Ok(body["access_token"].as_str().context("the answer has no access_token")?.to_owned())
}

/// Writes keys 1 to `keys` over the gateway.
pub(crate) fn fill(gateway: &Process, token: &str, keys: u32, value: &str) -> Result<()> {
    let agent = ureq::agent();
    for key in 1..=keys {
        agent
            .put(format!("http://{}/api/v1/kv/key-{key}", gateway.address()))
            .header("Authorization", format!("Bearer {token}"))
            .header("Content-Type", "application/json")
            .send(format!("{{\"value\":{value}}}"))
            .with_context(|| format!("writing key-{key}"))?;
    }
    Ok(())
}

/// The keys of webdis and of redis-benchmark, written by Redis itself.
fn fill_plain(port: u16, keys: u32, value_bytes: u32) -> Result<()> {
    let script = "for i = 0, tonumber(ARGV[1]) do \
                  redis.call('SET', 'plain:' .. i, ARGV[2]) \
                  redis.call('SET', string.format('key:%012d', i), ARGV[2]) end";
    let run = Command::new("redis-cli")
        .args(["-p", &port.to_string(), "EVAL", script, "0", &keys.to_string()])
        .arg("v".repeat(value_bytes as usize))
        .output()?;
    ensure!(run.status.success(), "filling: {}", String::from_utf8_lossy(&run.stdout));
    Ok(())
}

fn read_one(gateway: &Process, token: &str) -> Result<Vec<u8>> {
    let mut answer = ureq::get(format!("http://{}/api/v1/kv/key-1", gateway.address()))
        .header("Authorization", format!("Bearer {token}"))
        .call()
        .context("reading key-1")?;
    Ok(answer.body_mut().read_to_vec()?)
}
