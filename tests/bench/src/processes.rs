//! Processes that the benchmark starts: stopped when dropped, with the CPU time that they have used.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// A process of ours and the loopback port that it serves.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    pub(crate) port: u16,
}

impl Process {
    /// Starts `command` and waits until `port` accepts a connection; its output goes to `<folder>/<name>.log`.
    pub(crate) fn start(name: &'static str, command: &mut Command, port: u16, folder: &Path) -> Result<Self> {
        let log_path = folder.join(format!("{name}.log"));
        let log = File::create(&log_path)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name} ({command:?}): is it installed?"))?;
        let mut process = Self { name, child, port };
        let started = Instant::now();
        while TcpStream::connect(process.address()).is_err() {
            let log = || std::fs::read_to_string(&log_path).unwrap_or_default();
            if let Some(status) = process.child.try_wait()? {
                bail!("{name} ended with {status} instead of serving:\n{}", log());
            }
            if started.elapsed() > Duration::from_secs(20) {
                bail!("{name} does not listen on port {port} after 20 s:\n{}", log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process and its children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        [self.pid()].into_iter().chain(children).collect()
    }

    /// Asks it to end and waits for that; what it has started in a group of its own ends as well.
    pub(crate) fn end(mut self) -> Result<()> {
        self.signal("-TERM")?;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > Duration::from_secs(30) {
                bail!("{} does not end", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let group = format!("-{}", self.pid());
        // There is none where it was not made the first of one.
        Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status()?;
        Ok(())
    }

    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let done = Command::new("kill").args([signal, &self.pid().to_string()]).status()?;
        ensure!(done.success(), "kill {signal} failed");
        Ok(())
    }

    /// The peak of its memory so far, in MiB.
    pub(crate) fn peak_mebibytes(&self) -> Result<f64> {
        self.mebibytes("VmHWM:")
    }

    /// Its memory, in MiB.
    pub(crate) fn resident_mebibytes(&self) -> Result<f64> {
        self.mebibytes("VmRSS:")
    }

    /// A line of proc(5), `/proc/<pid>/status`.
    fn mebibytes(&self, name: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("no {name}"))?;
        let number = line.split_whitespace().next().with_context(|| format!("no number behind {name}"))?;
        let kibibytes: f64 = number.parse()?;
        Ok(kibibytes / 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What it has started would outlive it, and be in the way of the next run.
        let children = self.pids().into_iter().skip(1);
        if let Err(error) = self.child.kill() {
            eprintln!("stopping {}: {error}", self.name);
        }
        let _ = self.child.wait();
        for child in children {
            // One that has ended by itself is no fault.
            let _ = Command::new("kill").args(["-KILL", &child.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// CPU time that processes have used, see [`cpu_of`].
pub(crate) fn cpu_microseconds(pids: &[u32]) -> Result<(u64, u64)> {
    pids.iter().try_fold((0, 0), |(user, kernel), pid| {
        let (more_user, more_kernel) = cpu_of(*pid)?;
        Ok((user + more_user, kernel + more_kernel))
    })
}

/// CPU time that a process has used, user and kernel, in microseconds (proc(5): fields 14 and 15, in ticks of 10 ms).
fn cpu_of(pid: u32) -> Result<(u64, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name, in parentheses, may hold blanks.
    let rest = stat.rsplit_once(')').context("unexpected /proc/<pid>/stat")?.1;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("short /proc/<pid>/stat")?.parse()?) };
    Ok((ticks()? * 10_000, ticks()? * 10_000))
}
