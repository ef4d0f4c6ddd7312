//! Counts what passed and what failed: steps of our own and the summaries that test executables print.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader},
    process::{Command, ExitCode, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::machine::{self, Watch};

/// A run of tests.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) what: String,
    /// How a person repeats it.
    pub(crate) again: String,
    /// An executable of tests with its arguments.
    pub(crate) command: Command,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// Each with how it is run again.
    failures: Vec<String>,
    /// After this nothing more begins.
    until: Option<Instant>,
    /// What would have begun later, in the same way.
    left_out: Vec<String>,
}

impl Tally {
    /// None: for as long as it takes.
    pub(crate) fn limited_to(limit: Option<Duration>) -> Self {
        Self { until: limit.map(|limit| Instant::now() + limit), ..Self::default() }
    }

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

    /// Runs of tests, whose own summaries are counted, so many of them beside each other, in this order; a run that ends without a
    /// summary has failed. Of several, what one prints comes whole at its end. Where tests fail while the machine is without its processors, those
    /// are run once more when it has them again.
    pub(crate) fn tests(&mut self, runs: Vec<Run>, at_once: usize) -> bool {
        let (runs, tally) = (Mutex::new(VecDeque::from(runs)), Mutex::new((self, true)));
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    loop {
                        // Not in the loop's head, where the others would wait for its end.
                        let next = lock(&runs).pop_front();
                        let Some(mut run) = next else { return };
                        if lock(&tally).0.leaves_out(&run) {
                            continue;
                        }
                        println!("... {}", run.what);
                        let (started, mut lines) = (Instant::now(), String::new());
                        let outcome = attempt(&run.what, &mut run.command, &mut |line| {
                            if at_once == 1 {
                                println!("{line}");
                                return;
                            }
                            lines.push_str(line);
                            lines.push('\n');
                        });
                        let mut tally = lock(&tally);
                        println!("\n=== {} ({:.1} s)\n{lines}", run.what, started.elapsed().as_secs_f64());
                        let succeeded = tally.0.count(&run.what, &run.again, outcome);
                        tally.1 &= succeeded;
                    }
                });
            }
        });
        tally.into_inner().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Whether the time is up.
    fn leaves_out(&mut self, run: &Run) -> bool {
        let is_up = self.until.is_some_and(|until| Instant::now() >= until);
        if is_up {
            self.left_out.push(format!("{}: run it with `{}`", run.what, run.again));
        }
        is_up
    }

    fn count(&mut self, what: &str, again: &str, outcome: Result<Outcome>) -> bool {
        match outcome {
            Ok(Outcome { summary, success, why, .. }) => {
                self.passed += summary.passed;
                self.failed += summary.failed;
                if !success && summary.failed == 0 {
                    // It was not compiled, or ended in the middle.
                    self.failed += 1;
                }
                if !success {
                    let lines = [vec![format!("{what}: run again with `{again}`")], why].concat();
                    self.failures.push(lines.join("\n    "));
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
        for (what, list) in [("Not run, as the time was up:", &self.left_out), ("Failed:", &self.failures)] {
            if !list.is_empty() {
                println!("\n{what}\n  {}", list.join("\n  "));
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

/// What a run came to.
#[derive(Debug, Default)]
struct Outcome {
    summary: Summary,
    success: bool,
    /// The names of the tests that failed.
    failed: Vec<String>,
    /// How their panics begin, for the end of all, where it is found at once.
    why: Vec<String>,
}

impl Outcome {
    /// Whether it is known which tests are to be run again.
    fn can_be_repeated(&self) -> bool {
        !self.success && !self.failed.is_empty() && self.failed.len() as u64 == self.summary.failed
    }

    /// The same command for what failed only.
    fn repeated<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.arg("--exact").args(&self.failed)
    }

    /// The outcome with what the failed tests came to at their second run.
    fn with(self, second: Self) -> Self {
        let ran = second.summary.passed + second.summary.failed;
        let missing = self.summary.failed.saturating_sub(ran);
        Self {
            summary: Summary {
                passed: self.summary.passed + second.summary.passed,
                failed: second.summary.failed + missing,
            },
            success: second.success && missing == 0,
            failed: second.failed,
            why: second.why,
        }
    }
}

/// Runs it, and what failed once more where the machine was without its processors.
fn attempt(what: &str, command: &mut Command, print: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let watch = Watch::start();
    let first = run(command, print);
    let stolen = watch.end();
    match (first, stolen) {
        (Ok(first), Some(stolen)) if first.can_be_repeated() => {
            print(&format!(
                "\n{what}: {} failed, and for {} s the machine had not its processors (steal in /proc/stat): once more",
                first.failed.join(", "),
                stolen.as_secs()
            ));
            machine::wait_for_quiet();
            run(first.repeated(command), print).map(|second| first.with(second))
        }
        (first, _) => first,
    }
}

/// Of a panic's words: where, and what was wrong.
const LINES_OF_PANIC: u8 = 3;
const CHARACTERS_OF_PANIC: usize = 400;

fn run(command: &mut Command, print: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let output = child.stdout.take().context("stdout is piped")?;
    let mut outcome = Outcome::default();
    let (mut in_list, mut of_panic) = (false, 0);
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        print(&line);
        if let Some(more) = parse(&line) {
            outcome.summary.passed += more.passed;
            outcome.summary.failed += more.failed;
        }
        if line.starts_with("thread '") && line.contains(" panicked at ") {
            of_panic = LINES_OF_PANIC;
        }
        if of_panic > 0 {
            of_panic -= 1;
            outcome.why.push(line.chars().take(CHARACTERS_OF_PANIC).collect());
        }
        // Behind `failures:` there are first their outputs, then a list of their names.
        match line.strip_prefix("    ") {
            Some(name) if in_list && !name.contains(char::is_whitespace) => {
                outcome.failed.push(name.to_owned());
            }
            _ => in_list = line == "failures:",
        }
    }
    outcome.success = child.wait()?.success();
    Ok(outcome)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn the_summary_of_a_run_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s";
        assert_eq!(parse(line), Some(Summary { passed: 12, failed: 3 }));
        for other in ["test tests::x ... ok", "test result: ok", "", "result: ok. 1 passed; 0 failed"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    fn run_of(program: &str, argument: &str) -> Run {
        let mut command = Command::new(program);
        command.arg(argument);
        Run { what: "x".into(), again: "y".into(), command }
    }

    #[test]
    fn a_run_that_ends_without_a_summary_has_failed() {
        let mut tally = Tally::default();
        assert!(!tally.tests(vec![run_of("false", "x")], 1));
        assert!(!tally.tests(vec![run_of("/does/not/exist", "x")], 1));
        let summaries = "test result: ok. 2 passed; 0 failed; 0\\ntest result: ok. 3 passed; 0 failed; 0\\n";
        assert!(tally.tests(vec![run_of("printf", summaries)], 1));
        assert_eq!((tally.passed, tally.failed, tally.failures.len()), (5, 2, 2));
    }

    #[test]
    fn of_runs_beside_each_other_each_counts() {
        let mut tally = Tally::default();
        let passed = |number| run_of("printf", &format!("test result: ok. {number} passed; 0 failed; 0\\n"));
        assert!(!tally.tests(vec![passed(1), run_of("false", ""), passed(10), passed(100)], 3));
        assert_eq!((tally.passed, tally.failed, tally.failures.len()), (111, 1, 1));
    }

    #[test]
    fn runs_are_beside_each_other() {
        let pipe = std::env::temp_dir().join(format!("keystead-tally-{}", std::process::id()));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // The first one waits for the second.
        let mut reader = run_of("timeout", "20");
        reader.command.arg("cat").arg(&pipe);
        let mut writer = run_of("sh", "-c");
        writer.command.arg("echo 'test result: ok. 1 passed; 0 failed; 0' | tee \"$0\"").arg(&pipe);
        let mut tally = Tally::default();
        assert!(tally.tests(vec![reader, writer], 2));
        assert_eq!((tally.passed, tally.failed), (2, 0));
        std::fs::remove_file(pipe).unwrap();
    }

    #[test]
    fn nothing_begins_when_the_time_is_up() {
        let mut tally = Tally::limited_to(Some(Duration::ZERO));
        assert!(tally.tests(vec![run_of("false", ""), run_of("false", "")], 2));
        assert_eq!((tally.passed, tally.failed, tally.left_out.len()), (0, 0, 2));
    }

    #[test]
    fn what_failed_is_known_by_name_and_run_again_alone() {
        let mut first = Command::new("printf");
        first.arg(
            "test a::x ... FAILED\\n\\nfailures:\\n\\n---- a::x stdout ----\\n\\nthread 'a::x' (7) panicked at a.rs:1:2:\\nnot equal\\n    left: 1\\n\\n\\nfailures:\\n    a::x\\n    y\\n\\n\
             test result: FAILED. 5 passed; 2 failed; 0\\n",
        );
        let mut outcome = run(&mut first, &mut |_| ()).unwrap();
        assert_eq!((outcome.failed.join(" "), outcome.success), ("a::x y".into(), true));
        assert_eq!(outcome.why, ["thread 'a::x' (7) panicked at a.rs:1:2:", "not equal", "    left: 1"]);
        outcome.success = false;
        assert!(outcome.can_be_repeated());
        let mut command = Command::new("tests");
        command.args(["--test-threads", "2"]);
        let repeated: Vec<_> =
            outcome.repeated(&mut command).get_args().map(|it| it.to_str().unwrap()).collect();
        assert_eq!(repeated.join(" "), "--test-threads 2 --exact a::x y");
    }

    #[test]
    fn a_second_run_counts_for_what_it_ran_and_nothing_else() {
        let failed = |passed, failed| Outcome {
            summary: Summary { passed, failed },
            success: failed == 0,
            failed: Vec::new(),
            why: Vec::new(),
        };
        let whole = failed(5, 2).with(failed(2, 0));
        assert_eq!((whole.summary, whole.success), (Summary { passed: 7, failed: 0 }, true));
        let half = failed(5, 2).with(failed(1, 1));
        assert_eq!((half.summary, half.success), (Summary { passed: 6, failed: 1 }, false));
        // One of them was not found again.
        let missing = failed(5, 2).with(failed(1, 0));
        assert_eq!((missing.summary, missing.success), (Summary { passed: 6, failed: 1 }, false));
    }
}
