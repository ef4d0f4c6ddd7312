//! The cluster's processes: known by pid and start time, so that a recycled pid is never stopped.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Starts a process that outlives us; its output goes to `log/<name>.log`, its pid to `pid/<name>`.
pub(crate) fn start(state: &Path, name: &str, command: &mut Command) -> Result<()> {
    let log = File::create(state.join("log").join(format!("{name}.log")))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {name}: {command:?}"))?;
    let pid = child.id();
    let begun = start_time(pid).with_context(|| format!("{name} ended at once:\n{}", tail(state, name)))?;
    fs::write(state.join("pid").join(name), format!("{pid} {begun}"))?;
    Ok(())
}

/// An error with the end of the log where the process is gone.
pub(crate) fn check(state: &Path, name: &str) -> Result<()> {
    if pid(state, name).is_none() {
        bail!("{name} has ended; the last lines of its log:\n{}", tail(state, name));
    }
    Ok(())
}

/// The last twenty lines of a log.
pub(crate) fn tail(state: &Path, name: &str) -> String {
    let text = fs::read_to_string(state.join("log").join(format!("{name}.log"))).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The process's pid, if it is the one that was started.
pub(crate) fn pid(state: &Path, name: &str) -> Option<u32> {
    let text = fs::read_to_string(state.join("pid").join(name)).ok()?;
    let (pid, begun) = text.split_once(' ')?;
    let pid = pid.parse().ok()?;
    (start_time(pid)? == begun.parse::<u64>().ok()?).then_some(pid)
}

/// Asks it to end, and makes it after the time; nothing where it is not there.
pub(crate) fn stop(state: &Path, name: &str, patience: Duration) {
    let Some(pid) = pid(state, name) else { return };
    signal(pid, "TERM");
    let started = Instant::now();
    while self::pid(state, name).is_some() {
        if started.elapsed() > patience {
            signal(pid, "KILL");
        }
        if started.elapsed() > patience + Duration::from_secs(5) {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let _ = fs::remove_file(state.join("pid").join(name));
}

pub(crate) fn signal(pid: u32, signal: &str) {
    let _ =
        Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

/// Pids of programs from this folder whose command line holds this text. The text alone may also stand in an editor's
/// or a shell's command line.
pub(crate) fn of_programs(folder: &Path, text: &str) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(folder))
        })
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

/// proc(5): field 22 of stat; none for a process that is gone or only waits to be reaped.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
