//! A real redis-server on a loopback port of its own, in a folder of its own, stopped when dropped.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{authority::Authority, processes::free_port};

/// A running redis-server.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    is_secured: bool,
}

const ADMIN: &str = "admin";
const ADMIN_RULE: &str = "user admin on >admin ~* &* +@all";

impl Server {
    /// Starts one without users and without persistence.
    pub fn start() -> Self {
        Self::with(&["--save", ""])
    }

    /// Starts one that writes each acknowledged command to disk first.
    pub fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts one whose ACL file holds these lines, a `default` user that is off, and the user of [`Self::cli`].
    pub fn with_users(users: &[&str]) -> Self {
        let folder = Self::folder_of_users(users);
        let path = folder.path().join("users.acl").display().to_string();
        Self::launch(folder, vec!["--aclfile".into(), path, "--save".into(), String::new()], false)
    }

    fn folder_of_users(users: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = format!("user default off\n{ADMIN_RULE}\n{}\n", users.join("\n"));
        std::fs::write(folder.path().join("users.acl"), text).expect("writing the ACL file");
        folder
    }

    /// The same, reached by TLS only, with a certificate of this authority.
    pub fn with_tls(users: &[&str], authority: &Authority) -> Self {
        let folder = Self::folder_of_users(users);
        authority.issue(folder.path(), &["127.0.0.1"], &[authority]);
        let file = |name: &str| folder.path().join(name).display().to_string();
        let arguments = [
            ["--aclfile", &file("users.acl")],
            ["--save", ""],
            ["--tls-cert-file", &file("tls.crt")],
            ["--tls-key-file", &file("tls.key")],
            ["--tls-ca-cert-file", &file("ca.crt")],
            ["--tls-auth-clients", "no"],
        ];
        let arguments = arguments.concat().into_iter().map(str::to_owned).collect();
        Self::launch(folder, arguments, true)
    }

    /// Has it take another certificate, of this authority, for new connections.
    pub fn change_certificate(&self, authority: &Authority) {
        authority.issue(self.folder.path(), &["127.0.0.1"], &[authority]);
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (certificate, key, trusted) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
        let set = ["CONFIG", "SET", "tls-cert-file", &certificate, "tls-key-file", &key];
        let answer = self.cli(&[&set[..], &["tls-ca-cert-file", &trusted]].concat());
        assert_eq!(answer, "OK");
    }

    /// Starts one with these arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::launch(folder, arguments.iter().map(|argument| (*argument).to_owned()).collect(), false)
    }

    fn launch(mut folder: TempDir, mut arguments: Vec<String>, is_secured: bool) -> Self {
        // Another process may take the port in between: then the next one is tried.
        for _ in 0..20 {
            let port = free_port();
            let mut server = Self { child: None, port, folder, arguments, is_secured };
            if server.spawn() {
                return server;
            }
            assert!(server.log().contains("Address already in use"), "redis-server ended:\n{}", server.log());
            (folder, arguments) = server.into_parts();
        }
        panic!("redis-server found no free port in 20 tries");
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// SIGKILL; the data folder stays.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killing our own process");
            child.wait().expect("reaping it");
        }
    }

    /// Loses all data, between [`Self::kill`] and [`Self::revive`].
    pub fn empty(&self) {
        assert!(self.child.is_none(), "the server runs");
        for entry in std::fs::read_dir(self.folder.path()).expect("its folder").flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let remove = if is_folder { std::fs::remove_dir_all } else { std::fs::remove_file };
            remove(entry.path()).expect("removing its data");
        }
    }

    /// Starts it again after [`Self::kill`], on the same port with the same data.
    pub fn revive(&mut self) {
        assert!(self.child.is_none(), "the server runs");
        assert!(self.spawn(), "redis-server does not come back:\n{}", self.log());
    }

    /// SIGSTOP: it accepts connections and answers nothing.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Runs redis-cli against it as a user who may do everything, and gives what it prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()]);
        if self.is_secured {
            // Who it is does not matter here: it is our own process.
            cli.args(["--tls", "--insecure"]);
        }
        if self.arguments.iter().any(|it| it == "--aclfile") {
            cli.args(["--user", ADMIN, "--pass", ADMIN, "--no-auth-warning"]);
        }
        let output = cli.args(arguments).output().expect("redis-cli is installed");
        let printed = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(!printed.starts_with("NOAUTH") && !printed.starts_with("NOPERM"), "{arguments:?}: {printed}");
        printed
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "kill {signal}");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts the process and waits until it answers; false when it ended instead.
    fn spawn(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args(if self.is_secured { &["--port", "0", "--tls-port"][..] } else { &["--port"] })
            .args([&self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(self.folder.path())
            .arg("--logfile")
            .arg(self.folder.path().join("log"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (Debian package redis-server)");
        self.child = Some(child);
        let started = Instant::now();
        loop {
            if self.answers() && self.is_our_own() {
                return true;
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() {
                self.child = None;
                return false;
            }
            assert!(started.elapsed() < Duration::from_secs(90), "redis-server hangs:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Another process may have taken the port, and answer.
    fn is_our_own(&self) -> bool {
        let own = format!("{}:", self.pid());
        let is_ready = |line: &str| line.starts_with(&own) && line.contains("eady to accept connections");
        self.log().lines().any(is_ready)
    }

    /// Whether it has loaded its data; without a user it may answer only that one must log in.
    fn answers(&self) -> bool {
        if self.is_secured {
            return self.cli(&["PING"]) == "PONG";
        }
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = [0; 7];
        stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && (&answer == b"+PONG\r\n" || &answer == b"-NOAUTH")
    }

    fn into_parts(mut self) -> (TempDir, Vec<String>) {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a temporary folder"));
        (folder, std::mem::take(&mut self.arguments))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
