//! A real gateway process with its routes in a folder, or in Kubernetes, stopped when dropped.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use keystead_route::{
    Algorithm, Auth, Durability, Endpoint, FORMAT, Limits, Reads, Redis, Route, SignUp, SigningKey, Webhooks,
};
use tempfile::TempDir;

use crate::processes::free_port;

/// An Ed25519 key of the tests (openssl genpkey -algorithm ed25519); it signs nothing else.
pub const ED25519: &str = "-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VwBCIEINl9S0RjJPKNySLBPiqc131GDf8CfI7QSxpFCOnmOQwo\n\
-----END PRIVATE KEY-----\n";
/// 32 bytes in base64.
pub const HS256: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    port: u16,
    metrics_port: u16,
    admin_port: u16,
    folder: TempDir,
}

/// A route with open sign-up to this Redis.
pub fn route(tenant: &str, redis: &str) -> Route {
    Route {
        format: FORMAT,
        tenant: tenant.parse().expect("a tenant's name"),
        suspended: false,
        redis: Redis {
            endpoint: Endpoint::Standalone { address: redis.to_owned() },
            username: None,
            password: None,
            durability: Durability::Async,
            reads: Reads::Primary,
            restarts: false,
            tls: None,
        },
        limits: Limits::default(),
        auth: Auth {
            sign_up: SignUp::Open,
            access_token_ttl_seconds: 1800,
            refresh_token_ttl_seconds: 3600,
            keys: vec![SigningKey { id: "k1".into(), algorithm: Algorithm::EdDSA, secret: ED25519.into() }],
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
    }
}

impl Gateway {
    /// Starts the binary with these routes and waits until it is ready.
    pub fn start(binary: &Path, routes: &[Route]) -> Self {
        Self::start_with(binary, routes, &[])
    }

    /// Starts it with further arguments.
    pub fn start_with(binary: &Path, routes: &[Route], arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let command = Self::with_routes(binary, routes, arguments, &folder);
        Self::launch(command, folder, Stdio::inherit())
    }

    /// Starts it with its log in a file, see [`Self::log`].
    pub fn start_logging(binary: &Path, routes: &[Route], arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = fs::File::create(folder.path().join("log")).expect("a file for the log");
        let command = Self::with_routes(binary, routes, arguments, &folder);
        Self::launch(command, folder, log.into())
    }

    /// Starts it with routes from Secrets of a namespace, and with its log in a file.
    pub fn start_on_kubernetes(
        binary: &Path,
        kubeconfig: &Path,
        namespace: &str,
        arguments: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = fs::File::create(folder.path().join("log")).expect("a file for the log");
        let mut command = Command::new(binary);
        command.env("KUBECONFIG", kubeconfig).args(["--routes-namespace", namespace]).args(arguments);
        Self::launch(command, folder, log.into())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a gateway with a log")
    }

    fn with_routes(binary: &Path, routes: &[Route], arguments: &[&str], folder: &TempDir) -> Command {
        for route in routes {
            write(folder.path(), route);
        }
        let mut command = Command::new(binary);
        command.arg("--routes").arg(folder.path()).args(arguments);
        command
    }

    fn launch(mut command: Command, folder: TempDir, log: Stdio) -> Self {
        let (port, metrics_port, admin_port) = (free_port(), free_port(), free_port());
        let child = command
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--metrics-listen", &format!("127.0.0.1:{metrics_port}")])
            .args(["--admin-listen", &format!("127.0.0.1:{admin_port}")])
            // From the environment, so that a test's own arguments go before them.
            .envs([("KEYSTEAD_LOG_FORMAT", "text"), ("KEYSTEAD_LOG", "warn")])
            .envs([("KEYSTEAD_DRAIN_DELAY", "1"), ("KEYSTEAD_SHUTDOWN_GRACE", "5")])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the gateway's binary starts");
        let mut gateway = Self { child, port, metrics_port, admin_port, folder };
        let started = Instant::now();
        while !gateway.is_ready() {
            let ended = gateway.child.try_wait().expect("asking for its state");
            let log = || fs::read_to_string(gateway.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the gateway ended with {ended:?}: {}", log());
            assert!(started.elapsed() < Duration::from_secs(90), "the gateway is not ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        gateway
    }

    /// `http://host:port`
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn metrics_port(&self) -> u16 {
        self.metrics_port
    }

    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Adds a route or changes it, at once as a whole.
    pub fn set_route(&self, route: &Route) {
        write(self.folder.path(), route);
    }

    pub fn remove_route(&self, tenant: &str) {
        fs::remove_file(self.route_file(tenant)).expect("removing the route");
    }

    pub fn route_file(&self, tenant: &str) -> PathBuf {
        self.folder.path().join(format!("{tenant}.json"))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let done = Command::new("kill").arg(self.pid().to_string()).status();
        assert!(done.is_ok_and(|status| status.success()), "kill");
    }

    /// Waits for its end; gives whether it was a success.
    pub fn wait(&mut self) -> bool {
        self.child.wait().expect("waiting for it").success()
    }

    fn is_ready(&self) -> bool {
        use std::io::{Read as _, Write as _};
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let request = b"GET /health/ready HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        stream.write_all(request).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(folder: &Path, route: &Route) {
    let part = folder.join(format!("{}.part", route.tenant));
    fs::write(&part, route.to_json()).expect("writing the route");
    fs::rename(part, folder.join(format!("{}.json", route.tenant))).expect("placing the route");
}
