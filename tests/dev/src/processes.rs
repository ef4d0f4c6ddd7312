//! The processes: started in an order in which each finds what it needs, ended in the reverse. Stops only what it
//! started.

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    Arguments,
    plan::{ENCRYPTION_KEYS, Plan, WEBHOOK_SECRETS},
};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

const REDIS: &str = "redis";

#[derive(Debug, Default)]
pub(crate) struct Processes(Vec<Process>);

#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
}

impl Processes {
    /// The tenant's Redis with the operator's configuration, on loopback.
    pub(crate) async fn redis(&mut self, plan: &Plan) -> Result<()> {
        let mut command = Command::new("redis-server");
        command.arg(plan.folder.join("redis.conf"));
        self.start(format!("{REDIS} of {}", plan.name), command, &plan.folder.join("redis.log"))?;
        // Nobody is logged in: that it answers is enough.
        self.until(&plan.address(), "PING\r\n", &["-NOAUTH", "+PONG"]).await
    }

    /// The tenant's worker.
    pub(crate) async fn worker(&mut self, plan: &Plan, binary: &Path) -> Result<()> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(binary);
        command.args(["--tenant", plan.name.as_str(), "--redis-address", &plan.address()]);
        command.args(["--redis-username", "worker", "--redis-password-file"]);
        command.arg(plan.folder.join("worker-password"));
        if let Some(encryption) = &plan.route.encryption {
            command.arg("--encryption-keys").arg(plan.folder.join(ENCRYPTION_KEYS));
            command.args(encryption.active_key.iter().flat_map(|active| ["--encryption-key", active]));
        }
        if !plan.route.webhooks.is_empty() {
            command.args(["--webhooks", &serde_json::to_string(&plan.route.webhooks)?, "--webhook-secrets"]);
            command.arg(plan.folder.join(WEBHOOK_SECRETS));
        }
        if let Some(url) = &plan.loki_url {
            command.args(["--loki-url", url]);
        }
        command.args(["--concurrency", &plan.concurrency.to_string(), "--listen", &listen]);
        command.args(["--log-format", "text"]);
        self.start(format!("worker of {}", plan.name), command, &plan.folder.join("worker.log"))?;
        self.until(&listen, &get("/health/ready"), &["HTTP/1.1 200"]).await
    }

    /// The gateway for all of them.
    pub(crate) async fn gateway(&mut self, arguments: &Arguments, routes: &Path) -> Result<()> {
        let listen = arguments.listen.to_string();
        let mut command = Command::new(&arguments.gateway);
        command.args(["--listen", &listen, "--metrics-listen"]);
        command.arg(format!("127.0.0.1:{}", free_port()?));
        command.args(["--admin-listen", "127.0.0.1:0"]);
        command.args(["--drain-delay", "0", "--shutdown-grace", "5", "--log-format", "text", "--routes"]);
        command.arg(routes);
        self.start("gateway".into(), command, &arguments.state.join("gateway.log"))?;
        self.until(&listen, &get("/health/ready"), &["HTTP/1.1 200"]).await
    }

    /// Waits until one ends that nobody asked to.
    pub(crate) async fn any_ends(&mut self) -> Result<()> {
        loop {
            self.check()?;
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Asks each to end and waits for it: at last the Redis processes, which the others still need.
    pub(crate) async fn stop(&mut self) {
        let (stores, users): (Vec<_>, Vec<_>) = self.0.drain(..).partition(|it| it.name.starts_with(REDIS));
        for mut group in [users, stores] {
            for process in &group {
                if let Some(pid) = process.child.id() {
                    // One that cannot be asked is killed below.
                    let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
                }
            }
            for Process { name, child } in &mut group {
                if timeout(PATIENCE, child.wait()).await.is_err() {
                    eprintln!("{name} does not end and is killed");
                    // It may have ended just now.
                    let _ = child.kill().await;
                }
            }
        }
    }

    /// Starts a process in a group of its own: Ctrl-C on the terminal ends this program, which then ends the process.
    fn start(&mut self, name: String, mut command: Command, log: &Path) -> Result<()> {
        let log = File::create(log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting the {name}"))?;
        self.0.push(Process { name, child });
        Ok(())
    }

    /// Waits until the address answers a request with one of these beginnings.
    async fn until(&mut self, address: &str, request: &str, answers: &[&str]) -> Result<()> {
        let started = Instant::now();
        loop {
            self.check()?;
            let said = ask(address, request, answers[0].len()).await.unwrap_or_default();
            if answers.iter().any(|answer| said.starts_with(answer)) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("{address} is not ready after {} s, see the logs", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn check(&mut self) -> Result<()> {
        for Process { name, child } in &mut self.0 {
            if let Some(status) = child.try_wait()? {
                bail!("the {name} ended with {status}: its log says why, in the folder of --state");
            }
        }
        Ok(())
    }
}

async fn ask(address: &str, request: &str, bytes: usize) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; bytes];
    timeout(Duration::from_secs(2), stream.read_exact(&mut answer)).await??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
