//! What the harnesses of several Redis share: free addresses, processes, and asking them.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Who may do everything, by the same word.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const ADMIN_RULE: &str = "user admin on >admin ~* &* +@all";
/// Nothing that is waited for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Addresses of the loopback network that nobody else listens on.
pub(crate) fn free_hosts(count: usize, ports: &[u16]) -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = std::process::id().wrapping_mul(31).wrapping_add(turn.wrapping_mul(7));
        let net = format!("127.{}.{}", 1 + (place / 250) % 250, 1 + place % 250);
        let hosts: Vec<String> = (1..=count).map(|last| format!("{net}.{last}")).collect();
        let is_free =
            |host: &String| ports.iter().all(|port| TcpListener::bind((host.as_str(), *port)).is_ok());
        if hosts.iter().all(is_free) {
            return hosts;
        }
    }
    panic!("no free loopback addresses");
}

/// A port of the loopback that nobody listens on. Not one that the kernel gives out, to listeners or, what no test can see, to
/// connections (from 32768 on): of ten thousand of those one would take it in the moment in which it is free.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = std::process::id().wrapping_mul(97).wrapping_add(turn) % COUNT;
        let port = FIRST + u16::try_from(place).expect("less than 10,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free loopback port");
}

/// Starts a process and waits until it accepts connections.
pub(crate) fn spawn(mut command: Command, folder: &Path, host: &str, port: u16) -> Child {
    let log = fs::File::create(folder.join("log")).expect("a file for the log");
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server and redis-sentinel are installed (Debian packages of the same names)");
    let started = Instant::now();
    while TcpStream::connect((host, port)).is_err() {
        let ended = child.try_wait().expect("asking for its state");
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(ended.is_none() && started.elapsed() < PATIENCE, "it does not start:\n{}", log());
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

pub(crate) fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        child.kill().expect("killing our own process");
        child.wait().expect("reaping it");
    }
}

pub(crate) fn signal(signal: &str, child: Option<&Child>) {
    let pid = child.expect("the process runs").id().to_string();
    let done = Command::new("kill").args([signal, &pid]).status();
    assert!(done.is_ok_and(|status| status.success()), "kill {signal}");
}

/// Asks until there is something; says what the members did where that takes too long.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>, logs: impl Fn() -> String) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", logs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Empty where nobody answers within a second.
pub(crate) fn cli(host: &str, port: u16, arguments: &[&str]) -> String {
    let mut cli = Command::new("timeout");
    cli.args(["1", "redis-cli", "-h", host, "-p", &port.to_string()]);
    cli.args(["--user", ADMIN, "--pass", ADMIN, "--no-auth-warning"]);
    let output = cli.args(arguments).output().expect("redis-cli is installed");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
