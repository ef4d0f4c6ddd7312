//! Asks a Redis for how much waits in it, with as little as possible: the answer is a part of what is measured.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::processes::{Process, cpu_microseconds};

/// Longest time that one measurement may take.
const PATIENCE: Duration = Duration::from_mins(3);

/// Where jobs wait: a connection, and the command that counts them.
#[derive(Debug)]
pub(crate) struct Waiting {
    stream: BufReader<TcpStream>,
    command: &'static str,
}

/// What it took to run jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) per_second: f64,
    /// CPU of who ran them, and of Redis, for each job, in microseconds.
    pub(crate) runner_us: f64,
    pub(crate) redis_us: f64,
}

impl Waiting {
    /// `command` is sent as an inline command (<https://redis.io/docs/latest/develop/reference/protocol-spec/>) and answered with a number.
    pub(crate) fn in_redis(redis: &Process, command: &'static str) -> Result<Self> {
        let stream = TcpStream::connect(redis.address())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), command })
    }

    pub(crate) fn count(&mut self) -> Result<u64> {
        self.stream.get_mut().write_all(format!("{}\r\n", self.command).as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let number =
            line.trim_end().strip_prefix(':').with_context(|| format!("{}: {line}", self.command))?;
        Ok(number.parse()?)
    }

    /// Waits until not more than so many wait.
    pub(crate) fn until(&mut self, most: u64) -> Result<Instant> {
        let started = Instant::now();
        loop {
            let count = self.count()?;
            if count <= most {
                return Ok(Instant::now());
            }
            ensure!(started.elapsed() < PATIENCE, "{count} jobs still wait, and not {most}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts who runs jobs, and measures the middle eight tenths of the next `jobs`: neither its start nor its end counts.
    pub(crate) fn ran(
        &mut self,
        jobs: u64,
        redis: &Process,
        start: impl FnOnce() -> Result<Process>,
    ) -> Result<Ran> {
        let waiting = self.count()?;
        if waiting < jobs {
            bail!("{waiting} jobs wait, and {jobs} are to be run");
        }
        let runner = start()?;
        let begin = self.until(waiting - jobs / 10)?;
        let (runner_before, redis_before) = (total(&runner.pids())?, total(&[redis.pid()])?);
        let first = self.count()?;
        let end = self.until(waiting - jobs / 10 * 9)?;
        let last = self.count()?;
        let (runner_after, redis_after) = (total(&runner.pids())?, total(&[redis.pid()])?);
        if waiting == jobs {
            self.until(0)?;
        }
        runner.end()?;
        #[expect(clippy::cast_precision_loss, reason = "figures of a benchmark are far below 2^52")]
        let (done, runner_us, redis_us) = (
            (first - last) as f64,
            (runner_after - runner_before) as f64,
            (redis_after - redis_before) as f64,
        );
        Ok(Ran {
            per_second: done / (end - begin).as_secs_f64(),
            runner_us: runner_us / done,
            redis_us: redis_us / done,
        })
    }
}

fn total(pids: &[u32]) -> Result<u64> {
    cpu_microseconds(pids).map(|(user, kernel)| user + kernel)
}
