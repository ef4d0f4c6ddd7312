//! The services that are compared, started on loopback around one Redis that holds the same keys for all.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use keystead_route::{Algorithm, Auth, Endpoint, FORMAT, Limits, Redis, Route, SignUp, SigningKey};
use serde_json::{Value, json};

use crate::processes::{Process, free_port};

const PASSWORD: &str = "Benchmark-0-word";

/// A service as the load generator sees it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) pid: u32,
    /// Path of a read, with one `%d` for the key's number.
    pub(crate) read_path: String,
    pub(crate) write_path: String,
    /// File with the body of a write.
    pub(crate) write_body: PathBuf,
    /// Bearer token, or empty.
    pub(crate) token: String,
}

/// Everything that runs during a benchmark; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Stand {
    services: Vec<Service>,
    // Dropped in this order: the servers before the Redis that they use.
    _servers: Vec<Process>,
    redis: Process,
    folder: tempfile::TempDir,
}

impl Stand {
    pub(crate) fn start(gateway: &Path, keys: u32, value_bytes: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let redis = start_redis(folder.path())?;
        let gateway = start_gateway(gateway, folder.path(), redis.port)?;
        let webdis = start_webdis(folder.path(), redis.port)?;

        // A JSON string of exactly `value_bytes` bytes with its quotes.
        let value = format!("\"{}\"", "v".repeat(value_bytes as usize - 2));
        let token = register(gateway.port)?;
        fill(&gateway, &token, keys, &value)?;
        fill_plain(redis.port, keys, value_bytes)?;

        let kv_body = folder.path().join("write.json");
        std::fs::write(&kv_body, format!("{{\"value\":{value}}}"))?;
        let plain_body = folder.path().join("write.txt");
        std::fs::write(&plain_body, &value)?;
        // The floor answers with the very bytes that the gateway answers with.
        let answer = folder.path().join("answer.json");
        std::fs::write(&answer, read_one(&gateway, &token)?)?;
        let floor = start_floor(folder.path(), &answer)?;

        let kv_path = "/api/v1/kv/key-%d".to_owned();
        let services = vec![
            Service {
                name: "floor",
                port: floor.port,
                pid: floor.pid(),
                read_path: kv_path.clone(),
                write_path: kv_path.clone(),
                write_body: kv_body.clone(),
                token: token.clone(),
            },
            Service {
                name: "gateway",
                port: gateway.port,
                pid: gateway.pid(),
                read_path: kv_path.clone(),
                write_path: kv_path,
                write_body: kv_body,
                token,
            },
            Service {
                name: "webdis",
                port: webdis.port,
                pid: webdis.pid(),
                read_path: "/GET/plain:%d".to_owned(),
                write_path: "/SET/plain:%d".to_owned(),
                write_body: plain_body,
                token: String::new(),
            },
        ];
        Ok(Self { services, _servers: vec![floor, gateway, webdis], redis, folder })
    }

    pub(crate) fn services(&self) -> &[Service] {
        &self.services
    }

    pub(crate) fn redis_port(&self) -> u16 {
        self.redis.port
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn start_redis(folder: &Path) -> Result<Process> {
    let port = free_port()?;
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

fn start_gateway(binary: &Path, folder: &Path, redis_port: u16) -> Result<Process> {
    let routes = folder.join("routes");
    std::fs::create_dir(&routes)?;
    std::fs::write(routes.join("bench.json"), route(redis_port)?.to_json())?;
    let port = free_port()?;
    let mut command = Command::new(binary);
    command
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--metrics-listen", &format!("127.0.0.1:{}", free_port()?)])
        .arg("--routes")
        .arg(&routes);
    Process::start("gateway", &mut command, port, folder)
}

fn route(redis_port: u16) -> Result<Route> {
    Ok(Route {
        format: FORMAT,
        tenant: "bench".parse()?,
        suspended: false,
        redis: Redis {
            endpoint: Endpoint::Standalone { address: format!("127.0.0.1:{redis_port}") },
            username: None,
            password: None,
        },
        limits: Limits { default_ttl_seconds: 0, ..Limits::default() },
        auth: Auth {
            sign_up: SignUp::Open,
            access_token_ttl_seconds: 86_400,
            refresh_token_ttl_seconds: 86_400,
            keys: vec![SigningKey {
                id: "k1".into(),
                algorithm: Algorithm::HS256,
                // 32 bytes that sign nothing but the tokens of this run.
                secret: "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".into(),
            }],
            active_key: "k1".into(),
            admin_key_sha256: None,
        },
        cache: None,
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

fn start_floor(folder: &Path, answer: &Path) -> Result<Process> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", "--listen", &format!("127.0.0.1:{port}"), "--body"]).arg(answer);
    Process::start("floor", &mut command, port, folder)
}

fn register(port: u16) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}/api/v1/auth/register");
    let mut answer = ureq::post(&url)
        .send_json(json!({
            "username": "bench", "email": "bench@example.com", "password": PASSWORD, "tenant": "bench"
        }))
        .context("registering the benchmark's user")?;
    let body: Value = answer.body_mut().read_json()?;
    Ok(body["access_token"].as_str().context("the answer has no access_token")?.to_owned())
}

fn fill(gateway: &Process, token: &str, keys: u32, value: &str) -> Result<()> {
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
