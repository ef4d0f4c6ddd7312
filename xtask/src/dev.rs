//! `cargo xtask dev`: no Kubernetes. For each Tenant of a folder a redis-server and a worker, and one gateway for all.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use keystead_cluster::packages;
use keystead_route::{
    Algorithm, Auth, Endpoint, FORMAT, Limits, Redis, Route, SignUp, SigningKey, TenantName,
};
use serde_json::Value;

use crate::{
    build::{Profile, binaries},
    root,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with Tenants in *.yaml; other documents are passed over.
    #[arg(default_value = "examples")]
    folder: PathBuf,
    /// Port of the gateway.
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    packages::ensure(packages::REDIS)?;
    let tenants = tenants(&arguments.folder)?;
    ensure!(!tenants.is_empty(), "{} holds no Tenant in *.yaml", arguments.folder.display());
    let built = binaries(&["keystead-gateway", "keystead-worker"], Profile::Dev)?;
    let state = root().join("target/dev");
    let routes = state.join("routes");
    if routes.exists() {
        fs::remove_dir_all(&routes)?;
    }
    fs::create_dir_all(&routes)?;
    // Ctrl-C reaches the whole process group: each ends by itself, and what does not is killed when this is dropped.
    let mut processes = Processes(Vec::new());
    for (name, spec) in &tenants {
        let port = free_port()?;
        let data = state.join("data").join(name.as_str());
        fs::create_dir_all(&data)?;
        let mut redis = Command::new("redis-server");
        redis
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--appendonly", "yes", "--dir"])
            .arg(&data);
        processes.start(&format!("redis of {name}"), redis.stdout(Stdio::null()))?;
        let route = route(name, spec, port, &data)?;
        fs::write(routes.join(format!("{name}.json")), route.to_json())?;
        let mut worker = Command::new(&built[1]);
        worker.args(["--tenant", name.as_str(), "--redis-address", &format!("127.0.0.1:{port}")]);
        worker.args(["--listen", &format!("127.0.0.1:{}", free_port()?), "--log-format", "text"]);
        processes.start(&format!("worker of {name}"), &mut worker)?;
        println!("{name}: Redis on 127.0.0.1:{port}, data in {}", data.display());
    }
    let mut gateway = Command::new(&built[0]);
    gateway.args([
        "--listen",
        &format!("127.0.0.1:{}", arguments.port),
        "--drain-delay",
        "0",
        "--log-format",
        "text",
    ]);
    gateway.args(["--metrics-listen", &format!("127.0.0.1:{}", free_port()?)]).arg("--routes").arg(&routes);
    processes.start("gateway", &mut gateway)?;
    let first = tenants[0].0.as_str();
    println!(
        "\nThe gateway: http://127.0.0.1:{port}/api/v1 (Ctrl-C ends all)\n\n  \
         curl -s http://127.0.0.1:{port}/api/v1/auth/register -H 'Content-Type: application/json' \\\n    \
         -d '{{\"tenant\":\"{first}\",\"username\":\"ada\",\"email\":\"ada@example.com\",\"password\":\"Correct-horse-7\"}}'\n",
        port = arguments.port
    );
    processes.wait()
}

/// The Tenants of the folder's YAML files, by name.
fn tenants(folder: &Path) -> Result<Vec<(TenantName, Value)>> {
    let mut tenants = Vec::new();
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .flatten()
        .map(|file| file.path())
        .collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        let text = fs::read_to_string(path)?;
        for document in text.split("\n---") {
            let value: Value = serde_saphyr::from_str(document)
                .with_context(|| format!("{} is not YAML", path.display()))?;
            if value["kind"] == "Tenant" {
                let name = value["metadata"]["name"].as_str().unwrap_or_default();
                let name =
                    name.parse().with_context(|| format!("{}: metadata.name {name:?}", path.display()))?;
                tenants.push((name, value["spec"].clone()));
            }
        }
    }
    Ok(tenants)
}

/// The route as the operator would write it, for what matters here; the key is kept, so that tokens outlive a restart.
fn route(name: &TenantName, spec: &Value, port: u16, data: &Path) -> Result<Route> {
    let key = data.join("signing-key");
    if !key.exists() {
        let random = keystead_cluster::shell::run(Command::new("openssl").args(["rand", "-base64", "32"]))?;
        fs::write(&key, random.trim())?;
    }
    let open = spec["auth"]["signUp"] == "Open";
    let number = |name: &str| spec["limits"][name].as_u64();
    let defaults = Limits::default();
    Ok(Route {
        format: FORMAT,
        tenant: name.clone(),
        suspended: spec["suspend"] == true,
        redis: Redis {
            endpoint: Endpoint::Standalone { address: format!("127.0.0.1:{port}") },
            username: None,
            password: None,
        },
        limits: Limits {
            max_key_bytes: number("maxKeyBytes")
                .and_then(|n| n.try_into().ok())
                .unwrap_or(defaults.max_key_bytes),
            max_value_bytes: number("maxValueBytes").unwrap_or(defaults.max_value_bytes),
            default_ttl_seconds: number("defaultTtlSeconds").unwrap_or(defaults.default_ttl_seconds),
        },
        auth: Auth {
            sign_up: if open { SignUp::Open } else { SignUp::Closed },
            access_token_ttl_seconds: 1800,
            refresh_token_ttl_seconds: 604_800,
            keys: vec![SigningKey {
                id: "dev".into(),
                algorithm: Algorithm::HS256,
                secret: fs::read_to_string(&key)?.into(),
            }],
            active_key: "dev".into(),
        },
    })
}

struct Processes(Vec<(String, Child)>);

impl Processes {
    fn start(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("starting the {name}"))?;
        self.0.push((name.to_owned(), child));
        Ok(())
    }

    /// Until one of them ends.
    fn wait(&mut self) -> Result<()> {
        loop {
            for (name, child) in &mut self.0 {
                if let Some(status) = child.try_wait()? {
                    bail!("the {name} ended with {status}: the others are ended too");
                }
            }
            sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
