//! Many entries imported, exported, deleted and imported again by a real worker: equal each time, and how much memory that took.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use keystead_kv::{
    ConnectOptions, Connection, Filter, JSON, Store,
    queue::{NewJob, PART_BYTES, Queue},
};
use keystead_route::Endpoint;
use serde_json::json;

use crate::{
    figures::Figures,
    processes::{Process, free_port},
    services::start_redis_at,
};

/// What the worker's memory is to stay below, in MiB.
const WANTED: f64 = 128.0;
/// Longest time that one job may take.
const PATIENCE: Duration = Duration::from_mins(15);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The worker's binary, built for release.
    #[arg(long)]
    worker: PathBuf,
    /// Folder for `bulk.json`.
    #[arg(long)]
    out: PathBuf,
    /// How often all of it is done; the median counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..=10_000_000))]
    entries: u64,
}

/// One entry of those that are imported.
struct Sample {
    key: String,
    value: Vec<u8>,
    content_type: &'static str,
    tags: BTreeMap<String, String>,
}

impl Sample {
    /// Of each kind that there is: JSON, text, bytes; some with tags.
    fn new(number: u64) -> Self {
        let (value, content_type) = match number % 4 {
            0 => (format!("line {number}\n\"quoted\" ä").into_bytes(), "text/plain"),
            1 => ([number.to_le_bytes(), (!number).to_le_bytes()].concat(), "application/octet-stream"),
            _ => (format!("{{\"n\":{number},\"text\":\"{}\"}}", "abc ".repeat(12)).into_bytes(), JSON),
        };
        let tags = if number.is_multiple_of(10) {
            BTreeMap::from([("tenth".to_owned(), (number % 7).to_string())])
        } else {
            BTreeMap::new()
        };
        Self { key: format!("entry-{number:08}"), value, content_type, tags }
    }

    /// As a line of NDJSON.
    fn line(&self) -> String {
        let value = match (self.content_type, std::str::from_utf8(&self.value)) {
            (JSON, Ok(text)) => text.to_owned(),
            ("text/plain", Ok(text)) => json!(text).to_string(),
            _ => json!({"$base64": BASE64_STANDARD.encode(&self.value)}).to_string(),
        };
        format!(
            "{{\"key\":\"{}\",\"value\":{value},\"content_type\":\"{}\",\"metadata\":{{\"tags\":{}}}}}\n",
            self.key,
            self.content_type,
            json!(self.tags)
        )
    }
}

/// How many entries, and the sum of their hashes: the same whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Checksum {
    entries: u64,
    sum: u64,
}

impl Checksum {
    fn add(&mut self, key: &str, value: &[u8], content_type: &str, tags: &BTreeMap<String, String>) {
        let mut hash = DefaultHasher::new();
        (key, value, content_type, tags).hash(&mut hash);
        self.entries += 1;
        self.sum = self.sum.wrapping_add(hash.finish());
    }
}

struct Bulk {
    queue: Queue,
    store: Store,
    worker: Process,
    // Dropped behind the worker.
    _redis: Process,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = Figures::default();
    for _ in 0..arguments.repetitions {
        let folder = tempfile::tempdir()?;
        runtime.block_on(async {
            let bulk = Bulk::start(arguments, folder.path())?;
            bulk.measure(arguments.entries, &mut figures).await
        })?;
    }
    figures.write(&arguments.out, "bulk.json", arguments.repetitions)?;
    let most = figures.median("worker_peak_mib");
    ensure!(most < WANTED, "the worker took {most:.0} MiB, and is to take less than {WANTED}");
    Ok(())
}

impl Bulk {
    fn start(arguments: &Arguments, folder: &std::path::Path) -> Result<Self> {
        let (redis, port) = (start_redis_at(folder, 0)?, free_port()?);
        let mut command = Command::new(&arguments.worker);
        command
            .args(["--tenant", "bench", "--log", "warn", "--log-format", "text"])
            .args(["--redis-address", &redis.address().to_string()])
            .args(["--listen", &format!("127.0.0.1:{port}")]);
        let worker = Process::start("worker", &mut command, port, folder)?;
        let endpoint = Endpoint::Standalone { address: redis.address().to_string() };
        let mut options = ConnectOptions::new(endpoint, None, None);
        // What a busy machine needs for a thousand entries in one answer.
        options.response_timeout = Duration::from_secs(10);
        let connection = Connection::open(options)?;
        let (queue, store) = (Queue::new(connection.clone()), Store::new(connection));
        Ok(Self { queue, store, worker, _redis: redis })
    }

    async fn measure(&self, entries: u64, figures: &mut Figures) -> Result<()> {
        figures.note("worker_peak_mib_at_the_start", self.worker.peak_mebibytes()?);
        let (input, wanted) = self.send(entries).await?;
        self.job(figures, "import", "kv.import", &json!({"from": input}), entries).await?;
        ensure!(self.look().await? == wanted, "what was imported is not what was sent");
        let export = self.job(figures, "export", "kv.export", &json!({}), entries).await?;
        let bytes = self.queue.parts(&export).await?.context("the export has left nothing")?.bytes;
        #[expect(clippy::cast_precision_loss, reason = "figures of a benchmark are far below 2^52")]
        figures.note("export_mib", bytes as f64 / 1024.0 / 1024.0);
        self.job(figures, "delete", "kv.delete", &json!({"prefix": ""}), entries).await?;
        ensure!(self.store.count().await? == 0, "something is left");
        self.job(figures, "import_of_the_export", "kv.import", &json!({"from": export}), entries).await?;
        ensure!(self.look().await? == wanted, "what was exported and imported is not what there was");
        figures.note("worker_peak_mib", self.worker.peak_mebibytes()?);
        Ok(())
    }

    /// Sends the input; gives its id and what is to be there in the end.
    async fn send(&self, entries: u64) -> Result<(String, Checksum)> {
        let (mut input, mut wanted) = (self.queue.begin_input(), Checksum::default());
        let mut lines = String::with_capacity(PART_BYTES + 1024);
        for number in 0..entries {
            let sample = Sample::new(number);
            wanted.add(&sample.key, &sample.value, sample.content_type, &sample.tags);
            lines += &sample.line();
            let is_last = number + 1 == entries;
            if lines.len() >= PART_BYTES || is_last {
                ensure!(input.add(lines.as_bytes(), is_last).await?, "the input is too large");
                lines.clear();
            }
        }
        Ok((input.id().to_owned(), wanted))
    }

    /// Has a job run and measures it; gives its id.
    async fn job(
        &self,
        figures: &mut Figures,
        name: &str,
        kind: &str,
        payload: &serde_json::Value,
        entries: u64,
    ) -> Result<String> {
        let started = Instant::now();
        let id = self.queue.enqueue(&NewJob::new(kind, &payload.to_string())).await?.id;
        loop {
            let job = self.queue.get(&id).await?.context("the job is gone")?;
            if job.status == "succeeded" {
                break;
            }
            ensure!(job.status != "dead" && started.elapsed() < PATIENCE, "{job:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        #[expect(clippy::cast_precision_loss, reason = "figures of a benchmark are far below 2^52")]
        let done = entries as f64;
        figures.note(&format!("{name}_entries_per_second"), done / started.elapsed().as_secs_f64());
        figures.note(&format!("worker_peak_mib_after_{name}"), self.worker.peak_mebibytes()?);
        Ok(id)
    }

    /// What is there, read without the worker.
    async fn look(&self) -> Result<Checksum> {
        let (mut found, mut after) = (Checksum::default(), String::new());
        loop {
            let part = self.store.scan(Filter::with_prefix(""), &after, 1000, PART_BYTES as u64).await?;
            for (key, entry) in &part.items {
                found.add(key, &entry.value, &entry.metadata.content_type, &entry.metadata.tags);
            }
            match part.next_after {
                Some(next) => after = next,
                None => break,
            }
        }
        ensure!(found.entries == self.store.count().await?, "the count is another: {found:?}");
        Ok(found)
    }
}
