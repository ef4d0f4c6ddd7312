//! What the pods of a tenant have in common, whatever its topology: files that are mounted, and scripts that run with them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use keystead_operator::tenant::build::TLS_SCRIPT;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    client::{Reply, ask},
    process::Container,
};

pub(crate) const REDIS: u16 = 6379;
/// The tenant that the pods are of, unless a test says otherwise.
pub(crate) const NAME: &str = "shop";

/// One pod: who it is, and where its files are.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) address: String,
    /// With what is mounted into every pod.
    root: PathBuf,
    pub(crate) folder: PathBuf,
}

/// The beginning of an address, in a network of which no other test of this machine uses these ports.
pub(crate) fn free_net(ports: &[u16]) -> String {
    loop {
        let net = format!("127.{}.{}", rand::random_range(1..=254), rand::random_range(0..=255));
        let is_free =
            |port: &u16| (1..=5).all(|host| TcpListener::bind((format!("{net}.{host}"), *port)).is_ok());
        if ports.iter().all(is_free) {
            return net;
        }
    }
}

/// A folder with these scripts and this configuration, as mounted. `port` are the lines that say where Redis listens.
pub(crate) fn mounted(scripts: &[(&str, &str)], port: &str, lines: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    for name in ["config", "users", "passwords"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    for (name, text) in scripts.iter().copied().chain([TLS_SCRIPT]) {
        fs::write(root.join("config").join(name), text).unwrap();
    }
    let port = port.replace("/etc/keystead/tls", root.join("tls").to_str().unwrap());
    let conf = format!(
        "{port}protected-mode no\ndaemonize no\nlogfile \"\"\nmaxmemory 100mb\n\
         appendonly yes\nappendfsync everysec\nsave \"\"\n{lines}"
    );
    fs::write(root.join("config/redis.conf"), conf).unwrap();
    folder
}

/// Has Redis, when it starts next, write an append-only file (`yes`) or dumps (`no`).
pub(crate) fn append_only(folder: &Path, wished: &str) {
    let path = folder.join("config/redis.conf");
    let conf = fs::read_to_string(&path).unwrap();
    let now = if conf.contains("appendonly yes") { "appendonly yes" } else { "appendonly no" };
    fs::write(path, conf.replace(now, &format!("appendonly {wished}"))).unwrap();
}

/// A user for whom the passwords of these generations are valid.
pub(crate) fn user(name: &str, rules: &str, valid: &[&str]) -> String {
    let hashes: Vec<String> = valid
        .iter()
        .map(|generation| {
            let digest = Sha256::digest(password(name, generation));
            digest.iter().fold(String::from("#"), |hash, byte| format!("{hash}{byte:02x}"))
        })
        .collect();
    format!("user {name} on {} {rules}\n", hashes.join(" "))
}

/// With a quotation mark, which a password may have.
pub(crate) fn password(user: &str, generation: &str) -> String {
    format!("{user} \"{generation}")
}

/// The ends of these files.
pub(crate) fn tails(paths: impl Iterator<Item = PathBuf>) -> String {
    let tail = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    };
    paths.map(|path| format!("== {}\n{}\n", path.display(), tail(&path))).collect::<Vec<_>>().concat()
}

impl Pod {
    /// One with the volume that it had before, or an empty one.
    pub(crate) fn new(root: &Path, name: String, address: String) -> Self {
        let folder = root.join(&name);
        for part in ["data", "run"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        Self { name, address, root: root.to_owned(), folder }
    }

    pub(crate) fn script(&self, name: &str, log: &str, tenant: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .arg(self.root.join("config").join(name))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOSTNAME", &self.name)
            .env("KEYSTEAD_TENANT", tenant)
            .env("KEYSTEAD_CONFIG", self.root.join("config"))
            .env("KEYSTEAD_USERS", self.root.join("users"))
            .env("KEYSTEAD_PASSWORDS", self.root.join("passwords"))
            .env("KEYSTEAD_TLS", self.root.join("tls"))
            .env("KEYSTEAD_DATA", self.folder.join("data"))
            .env("KEYSTEAD_RUN", self.folder.join("run"))
            .env("KEYSTEAD_BIND", &self.address)
            .env("KEYSTEAD_LOG", self.folder.join(log));
        command
    }

    pub(crate) fn container(&self, script: &'static str, log: &'static str, tenant: &str) -> Container {
        let (pod, tenant) = (self.clone(), tenant.to_owned());
        Container::start(&self.folder.join(log), move || pod.script(script, log, &tenant))
    }

    /// Its memory is lost.
    pub(crate) fn forget(&self) {
        fs::remove_dir_all(self.folder.join("run")).unwrap();
        fs::create_dir(self.folder.join("run")).unwrap();
    }

    pub(crate) fn empty_volume(&self) {
        fs::remove_dir_all(self.folder.join("data")).unwrap();
        fs::create_dir(self.folder.join("data")).unwrap();
    }

    pub(crate) fn redis(&self, command: &[&str]) -> Reply {
        ask(&self.address, REDIS, command).unwrap_or(Reply::Nil)
    }

    /// Nobody is understood who does not speak TLS.
    pub(crate) fn assert_refuses_plain(&self) {
        let mut plain = TcpStream::connect((self.address.as_str(), REDIS)).unwrap();
        plain.write_all(b"PING\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("NOAUTH") && !answer.contains("PONG"), "{answer:?}");
    }

    /// Whether what was written is in the files; also where nothing runs. While an fsync is under way Redis keeps up to two seconds
    /// of it back (`appendfsync everysec`), and who is killed then loses them.
    pub(crate) fn has_flushed(&self) -> bool {
        ["", "0"].contains(&&*self.info("aof_buffer_length"))
    }

    /// A field of INFO, empty without an answer.
    pub(crate) fn info(&self, field: &str) -> String {
        let reply = self.redis(&["INFO"]);
        let mut lines = reply.text().lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| *name == field).map_or_else(String::new, |(_, value)| value.to_owned())
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

/// No user was refused what it wanted, as these `ACL LOG` say.
pub(crate) fn assert_no_denials(name: &str, logs: &[Reply]) {
    for log in logs {
        let denied: Vec<_> = log.list().iter().filter(|it| it.field("reason") != "auth").collect();
        assert!(denied.is_empty(), "{name}: {denied:?}");
    }
}
