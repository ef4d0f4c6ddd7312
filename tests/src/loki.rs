//! A real Loki in one process on loopback ports of its own, with its data in a folder of its own, stopped when dropped.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::processes::free_port;

/// It starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running Loki.
#[derive(Debug)]
pub struct Loki {
    child: Option<Child>,
    binary: PathBuf,
    port: u16,
    folder: TempDir,
}

impl Loki {
    /// Starts it and waits until it takes entries. `needs_org`: whether it asks whose they are.
    pub fn start(binary: &Path, needs_org: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (port, grpc) = (free_port(), free_port());
        let place = folder.path().display();
        let config = format!(
            "auth_enabled: {needs_org}
server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}, log_level: warn}}
common:
  instance_addr: 127.0.0.1
  path_prefix: {place}
  replication_factor: 1
  ring: {{kvstore: {{store: inmemory}}}}
  storage: {{filesystem: {{chunks_directory: {place}/chunks, rules_directory: {place}/rules}}}}
ingester: {{lifecycler: {{min_ready_duration: 0s}}}}
schema_config:
  configs: [{{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {{prefix: index_, period: 24h}}}}]
analytics: {{reporting_enabled: false}}
"
        );
        fs::write(folder.path().join("loki.yaml"), config).expect("writing its configuration");
        let mut loki = Self { child: None, binary: binary.to_owned(), port, folder };
        loki.revive();
        loki
    }

    /// `http://host:port`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// SIGKILL; its data stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killing our own process");
            child.wait().expect("reaping it");
        }
    }

    /// Starts it, also again after [`Self::kill`], on the same port with the same data.
    pub fn revive(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("a file for its log");
        let child = Command::new(&self.binary)
            .arg(format!("-config.file={}", self.folder.path().join("loki.yaml").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the same file"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("Loki's binary starts"));
        let started = Instant::now();
        while self.get("/ready", "").0 != 200 {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("asking for its state"));
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "Loki does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Status and body of an answer; 0 where there is none. `org`: whose logs are asked for, where it asks.
    pub fn get(&self, path: &str, org: &str) -> (u16, String) {
        let asked = || -> std::io::Result<(u16, String)> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let org = if org.is_empty() { String::new() } else { format!("X-Scope-OrgID: {org}\r\n") };
            write!(stream, "GET {path} HTTP/1.0\r\nHost: loki\r\n{org}\r\n")?;
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            while line != "\r\n" {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    break;
                }
            }
            let mut body = String::new();
            reader.read_to_string(&mut body)?;
            Ok((status, body))
        };
        asked().unwrap_or_default()
    }
}

impl Drop for Loki {
    fn drop(&mut self) {
        self.kill();
    }
}
