//! Counts what passed and what failed: steps of our own and the summaries that cargo's tests print.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// Each with how it is run again.
    failures: Vec<String>,
}

impl Tally {
    /// A step that passes or fails as a whole. `again` is the command that repeats it.
    pub(crate) fn step(&mut self, what: &str, again: &str, work: impl FnOnce() -> Result<()>) -> bool {
        println!("\n=== {what}");
        let started = Instant::now();
        let result = work();
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(()) => {
                println!("{what}: passed ({seconds:.1} s)");
                self.passed += 1;
            }
            Err(error) => {
                println!("{what}: FAILED ({seconds:.1} s): {error:#}");
                self.fail(what, again);
            }
        }
        result.is_ok()
    }

    /// A run of `cargo test`, whose own summaries are counted; a run that ends without one has failed.
    pub(crate) fn tests(&mut self, what: &str, again: &str, command: &mut Command) -> bool {
        println!("\n=== {what}");
        match run(command) {
            Ok((summary, success)) => {
                self.passed += summary.passed;
                self.failed += summary.failed;
                if !success && summary.failed == 0 {
                    // It was not compiled, or ended in the middle.
                    self.failed += 1;
                }
                if !success {
                    self.failures.push(format!("{what}: run again with `{again}`"));
                }
                success
            }
            Err(error) => {
                println!("{what}: {error:#}");
                self.fail(what, again);
                false
            }
        }
    }

    /// Prints what failed, and as the last line the numbers.
    pub(crate) fn finish(self) -> ExitCode {
        if !self.failures.is_empty() {
            println!("\nFailed:");
            for failure in &self.failures {
                println!("  {failure}");
            }
        }
        println!("\n{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn fail(&mut self, what: &str, again: &str) {
        self.failed += 1;
        self.failures.push(format!("{what}: run again with `{again}`"));
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
}

fn run(command: &mut Command) -> Result<(Summary, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let output = child.stdout.take().context("stdout is piped")?;
    let mut summary = Summary::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(more) = parse(&line) {
            summary.passed += more.passed;
            summary.failed += more.failed;
        }
    }
    Ok((summary, child.wait()?.success()))
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; …`
fn parse(line: &str) -> Option<Summary> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = numbers.split("; ").find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Summary { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_cargo_test_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s";
        assert_eq!(parse(line), Some(Summary { passed: 12, failed: 3 }));
        for other in ["test tests::x ... ok", "test result: ok", "", "result: ok. 1 passed; 0 failed"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_run_that_ends_without_a_summary_has_failed() {
        let mut tally = Tally::default();
        assert!(!tally.tests("x", "x", Command::new("false").arg("x")));
        assert!(!tally.tests("x", "x", &mut Command::new("/does/not/exist")));
        let mut summaries = Command::new("printf");
        summaries.arg("test result: ok. 2 passed; 0 failed; 0\\ntest result: ok. 3 passed; 0 failed; 0\\n");
        assert!(tally.tests("x", "x", &mut summaries));
        assert_eq!((tally.passed, tally.failed, tally.failures.len()), (5, 2, 2));
    }
}
