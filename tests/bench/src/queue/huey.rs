//! Huey on the same Redis: one client queues, one consumer runs.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::asked::{Ran, Waiting};
use crate::processes::Process;

/// How its consumer works off the queue: as it does by itself, and with a process for each core.
pub(crate) const CONSUMERS: [(&str, [&str; 4]); 2] =
    [("huey", ["-k", "thread", "-w", "1"]), ("huey_2_processes", ["-k", "process", "-w", "2"])];

#[derive(Debug)]
pub(crate) struct Huey<'a> {
    python: PathBuf,
    folder: &'a Path,
    redis: &'a Process,
}

impl<'a> Huey<'a> {
    pub(crate) fn new(python: &Path, folder: &'a Path, redis: &'a Process) -> Result<Self> {
        std::fs::write(folder.join("huey_app.py"), include_str!("../../huey/app.py"))?;
        // It is started in another folder.
        Ok(Self { python: std::path::absolute(python)?, folder, redis })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.current_dir(self.folder).env("BENCH_REDIS_PORT", self.redis.port.to_string());
        command
    }

    /// Has so many threads of a process queue jobs, each one by one; gives how many a second.
    pub(crate) fn enqueue(&self, jobs: u64, callers: u64) -> Result<f64> {
        let queue = format!("import huey_app; huey_app.queue({jobs}, {callers})");
        let run = self.command().args(["-c", &queue]).output()?;
        ensure!(run.status.success(), "Huey: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).trim().parse().context("Huey's figure")
    }

    /// Has a consumer work off what waits.
    pub(crate) fn run(&self, jobs: u64, consumer: &[&str]) -> Result<Ran> {
        let mut waiting = Waiting::in_redis(self.redis, "LLEN huey.redis.bench")?;
        waiting.ran(jobs, self.redis, || {
            let mut command = self.command();
            // Without a line of its log for each job, and without its scheduler of periodic tasks.
            command.args(["-m", "huey.bin.huey_consumer", "huey_app.huey", "--quiet", "--no-periodic"]);
            // Its processes end with it, as a group.
            command.process_group(0);
            // It serves no port; Redis' answers at once.
            Process::start("huey", command.args(consumer), self.redis.port, self.folder)
        })
    }
}
