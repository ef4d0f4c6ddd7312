//! Commands, steps with their times, and waiting for a condition.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Runs a command; an error shows what it was and what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command, None)?;
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{}", output.status, both(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command with this text as its input.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let output = output(command, Some(input))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{}", output.status, both(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command succeeds; what it says is not shown.
pub fn succeeds(command: &mut Command) -> bool {
    output(command, None).is_ok_and(|output| output.status.success())
}

fn output(command: &mut Command, input: Option<&str>) -> Result<Output> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes())?;
    }
    Ok(child.wait_with_output()?)
}

fn both(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Does a step and prints how long it took.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = work().with_context(|| name.to_owned())?;
    eprintln!("  {:>6.1} s  {name}", started.elapsed().as_secs_f64());
    Ok(result)
}

/// Asks until the probe gives something; its last error is told when the time is up.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(error) if started.elapsed() > limit => {
                return Err(error.context(format!("{what}: not within {} s", limit.as_secs())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
