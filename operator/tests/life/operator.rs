//! The operator under test, as a process of its own.

use std::{
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    cluster::{Cluster, FRONT, LEASES, eventually},
    proxy::Proxy,
};

/// A running operator; killed when it is dropped.
pub struct Operator {
    child: Child,
    pub proxy: Proxy,
    port: u16,
    folder: TempDir,
}

impl Operator {
    /// Starts one and waits until it leads and has seen everything.
    pub async fn leading(cluster: &Cluster, name: &str) -> Self {
        let operator = Self::start(cluster, name).await;
        operator.wait_for("leading").await;
        operator
    }

    pub async fn start(cluster: &Cluster, name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let proxy = Proxy::start(cluster.client.clone(), folder.path()).await;
        Self::start_behind(proxy, folder, name)
    }

    pub fn start_behind(proxy: Proxy, folder: TempDir, name: &str) -> Self {
        let port = keystead_tests::free_port();
        let images = std::env::var("KEYSTEAD_REDIS_IMAGES")
            .unwrap_or_else(|_| "7.0=docker.io/library/redis:7.0,7.2=docker.io/library/redis:7.2".into());
        let default = images.split('=').next().unwrap().to_owned();
        let worker =
            std::env::var("KEYSTEAD_WORKER_IMAGE").unwrap_or_else(|_| "keystead/gateway:0.1.0".into());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_keystead-operator"))
            .env_clear()
            .env("KUBECONFIG", &proxy.kubeconfig)
            .args(["--gateway-namespace", FRONT, "--namespace", LEASES, "--pod-name", name])
            .args(["--worker-image", &worker, "--redis-images", &images, "--default-redis-version", &default])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--log-format", "text"])
            .args(["--log", "info,keystead_operator=debug"])
            .stdout(log.try_clone().unwrap())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Self { child, proxy, port, folder }
    }

    async fn ask(&self, path: &str) -> Result<String, String> {
        let mut answer = String::new();
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
            stream.read_to_string(&mut answer).await
        };
        asked.await.map_err(|error| error.to_string())?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).ok_or(answer)
    }

    /// Waits for what the readiness probe is answered.
    pub async fn wait_for(&self, health: &str) {
        eventually(&format!("the operator is {health}"), async || {
            let said = self.ask("/health/ready").await?;
            if said.trim() == health { Ok(()) } else { Err(said) }
        })
        .await;
    }

    /// A figure by the beginning of its line, summed.
    pub async fn figure(&self, prefix: &str) -> f64 {
        let text = self.ask("/metrics").await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(prefix));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the end that comes of it, which must be a good one.
    pub async fn terminate(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = self.wait_exit().await;
        assert!(status.success(), "{status}: {}", self.log());
    }

    pub async fn wait_exit(&mut self) -> ExitStatus {
        for _ in 0..300 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the operator does not end: {}", self.log());
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6000);
            eprintln!("the operator's log ends:\n{}", &log[log.ceil_char_boundary(from)..]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
