//! The tenant's queue: at-least-once jobs with leases, retries and dead letters, all in its own Redis.
//!
//! A worker's lease covers all jobs that it has; [`Claims::renew`] costs one call however many those are. A job whose
//! worker's lease ran out is handed out again. Times are of Redis' clock.

mod claims;
pub mod kinds;
mod parts;
mod schedules;
mod webhook;

use std::time::Duration;

use redis::{FromRedisValue, Value, cmd};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    connection::Connection,
    entry::Corrupt,
    error::{Effect, Error},
    keyring::Keyring,
    script,
};

pub use claims::{Claim, Claims, ENDS, Ending, Left, Report, Wake};
pub use parts::{Input, MAX_INPUT_BYTES, PART_BYTES, Parts};
pub use schedules::{InvalidName, MAX_SCHEDULES, NewSchedule, PutSchedule, Schedule, ScheduleName};
pub use webhook::Webhook;

/// How long a finished job is kept.
pub const RETENTION: Duration = Duration::from_hours(7 * 24);
/// How many finished jobs are kept, whatever their age.
pub const FINISHED_KEPT: u32 = 10_000;
/// How many jobs may wait, those for later among them: beyond, none is taken. A job takes some 700 bytes of Redis' memory, so that
/// one of less than 2 GiB is full before.
pub const MAX_WAITING: u32 = 2_000_000;
/// Largest payload, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Longest delay of a job, in seconds: a year.
pub const MAX_DELAY_SECONDS: u64 = 366 * 24 * 3600;

/// A job to be queued.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub kind: String,
    /// JSON text.
    pub payload: String,
    /// 0–9; higher first.
    pub priority: u8,
    pub when: When,
    /// 1–25.
    pub max_attempts: u32,
    /// The `traceparent` (W3C Trace Context) that the job goes on with.
    pub trace: Option<String>,
}

/// When a job may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    After(Duration),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    At(u64),
}

impl NewJob {
    /// A job that may begin at once, with the usual five attempts.
    pub fn new(kind: &str, payload: &str) -> Self {
        Self {
            kind: kind.into(),
            payload: payload.into(),
            priority: 5,
            when: When::Now,
            max_attempts: 5,
            trace: None,
        }
    }
}

/// What became of a job that was to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    pub id: String,
    /// `pending` or `scheduled`; none where the name was taken by the job of this id.
    pub status: Option<String>,
}

/// A job as its owner sees it. Times are milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    pub id: String,
    pub kind: String,
    pub payload: Box<RawValue>,
    /// `scheduled`, `pending`, `running`, `succeeded`, `dead` or `cancelled`.
    pub status: String,
    pub priority: u8,
    pub attempts: u32,
    pub max_attempts: u32,
    pub run_at: u64,
    pub created_at: u64,
    pub started_at: Option<u64>,
    pub finished_at: Option<u64>,
    /// Of the last attempt that failed.
    pub error: Option<String>,
    pub result: Option<Box<RawValue>>,
    /// What its last attempt has said of itself; none: nothing.
    pub progress: Option<Progress>,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// 0–100.
    pub percent: u8,
    pub message: String,
}

/// What a change of a job's state came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// The job is in another state than this needs.
    WrongState,
    Unknown,
}

/// The tenant's queue.
#[derive(Clone, Debug)]
pub struct Queue {
    connection: Connection,
    keyring: Option<Keyring>,
}

impl Queue {
    pub fn new(connection: Connection) -> Self {
        Self { connection, keyring: None }
    }

    /// Encrypts the bytes that jobs leave, and decrypts them. Kinds, payloads and errors are not encrypted.
    #[must_use]
    pub fn with_keyring(self, keyring: Option<Keyring>) -> Self {
        Self { keyring, ..self }
    }

    pub async fn enqueue(&self, job: &NewJob) -> Result<Enqueued, Error> {
        self.add(job, None).await
    }

    /// Queues a job unless one was queued by this name within `remember`: so a period's job runs once, however many
    /// workers ask for it.
    pub async fn enqueue_once(
        &self,
        job: &NewJob,
        name: &str,
        remember: Duration,
    ) -> Result<Enqueued, Error> {
        self.add(job, Some((name, remember))).await
    }

    async fn add(&self, job: &NewJob, once: Option<(&str, Duration)>) -> Result<Enqueued, Error> {
        let id = Uuid::now_v7().to_string();
        let (delay, run_at) = match job.when {
            When::Now => (0, 0),
            When::After(delay) => (milliseconds(delay), 0),
            When::At(time) => (0, time.max(1)),
        };
        let name = format!("jobs:{{j}}:once:{}", once.map_or("", |(name, _)| name));
        let remember = once.map_or(0, |(_, remember)| milliseconds(remember)).to_string();
        let (priority, delay, run_at) =
            (job.priority.min(9).to_string(), delay.to_string(), run_at.to_string());
        let attempts = job.max_attempts.max(1).to_string();
        let key = job_key(&id);
        let most = MAX_WAITING.to_string();
        let keys: [&[u8]; 2] = [key.as_bytes(), name.as_bytes()];
        let arguments: [&[u8]; 10] = [
            id.as_bytes(),
            job.kind.as_bytes(),
            job.payload.as_bytes(),
            priority.as_bytes(),
            delay.as_bytes(),
            run_at.as_bytes(),
            attempts.as_bytes(),
            remember.as_bytes(),
            job.trace.as_deref().unwrap_or_default().as_bytes(),
            most.as_bytes(),
        ];
        let (added, id, status): (i8, String, String) =
            self.connection.eval(&script::JOB_ENQUEUE, Effect::Write, &keys, &arguments).await?;
        if added < 0 {
            return Err(Error::QueueFull);
        }
        Ok(Enqueued { id, status: (added == 1).then_some(status) })
    }

    pub async fn get(&self, id: &str) -> Result<Option<Job>, Error> {
        found(id, self.connection.read(cmd("HGETALL").arg(job_key(id))).await?)
    }

    /// These jobs, in one round trip; those that are gone are left out.
    pub async fn get_all(&self, ids: &[String]) -> Result<Vec<Job>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut reads = redis::pipe();
        for id in ids {
            reads.add_command(cmd("HGETALL").arg(job_key(id)).clone());
        }
        let answers = self.connection.pipeline(&reads, Vec::new(), Effect::Read).await?;
        let jobs = ids.iter().zip(answers).map(|(id, answer)| found(id, answer?));
        jobs.filter_map(Result::transpose).collect()
    }

    /// Ids of jobs, the newest first.
    pub async fn list(&self, skip: u64, limit: u64) -> Result<(u64, Vec<String>), Error> {
        let total: u64 = self.connection.read(cmd("ZCARD").arg("jobs:{j}:all")).await?;
        let last = skip.saturating_add(limit).saturating_sub(1);
        let mut range = cmd("ZRANGE");
        range.arg("jobs:{j}:all").arg(skip).arg(last).arg("REV");
        Ok((total, self.connection.read(&range).await?))
    }

    /// How many jobs there are of each status.
    pub async fn counts(&self) -> Result<Vec<(String, u64)>, Error> {
        let counts: Vec<(String, i64)> = self.connection.read(cmd("HGETALL").arg("jobs:{j}:counts")).await?;
        Ok(counts.into_iter().map(|(status, count)| (status, u64::try_from(count).unwrap_or(0))).collect())
    }

    /// Cancels a job that has not begun.
    pub async fn cancel(&self, id: &str) -> Result<Changed, Error> {
        let (retention, kept) = (RETENTION.as_secs().to_string(), FINISHED_KEPT.to_string());
        self.change(&script::JOB_CANCEL, id, &[id.as_bytes(), retention.as_bytes(), kept.as_bytes()]).await
    }

    /// Runs a dead or cancelled job again.
    pub async fn retry(&self, id: &str) -> Result<Changed, Error> {
        self.change(&script::JOB_RETRY, id, &[id.as_bytes(), MAX_WAITING.to_string().as_bytes()]).await
    }

    async fn change(
        &self,
        script: &'static script::Script,
        id: &str,
        arguments: &[&[u8]],
    ) -> Result<Changed, Error> {
        let key = job_key(id);
        let answer: i8 = self.connection.eval(script, Effect::Write, &[key.as_bytes()], arguments).await?;
        match answer {
            1 => Ok(Changed::Done),
            0 => Ok(Changed::WrongState),
            -2 => Err(Error::QueueFull),
            _ => Ok(Changed::Unknown),
        }
    }
}

fn job_key(id: &str) -> String {
    format!("jobs:{{j}}:job:{id}")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The fields of a hash in Redis, of which a reader takes those that it knows.
struct Fields(Vec<(String, Value)>);

impl Fields {
    /// None where there is no such hash.
    fn of(hash: Value) -> Result<Option<Self>, Error> {
        let fields: Vec<_> = FromRedisValue::from_redis_value(hash).map_err(|_| Corrupt::Malformed)?;
        Ok(Some(Self(fields)).filter(|fields| !fields.0.is_empty()))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(field, _)| field == name).and_then(|(_, value)| match value {
            Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
            _ => None,
        })
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    fn json(&self, name: &str) -> Option<Box<RawValue>> {
        self.text(name).and_then(|text| RawValue::from_string(text).ok())
    }
}

/// The job of a hash; an empty one is none.
fn found(id: &str, hash: Value) -> Result<Option<Job>, Error> {
    Fields::of(hash)?.map(|fields| job(id, &fields)).transpose()
}

fn job(id: &str, fields: &Fields) -> Result<Job, Error> {
    let small = |name: &str| fields.number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    Ok(Job {
        id: id.to_owned(),
        kind: fields.text("kind").ok_or(Corrupt::Malformed)?,
        payload: fields.json("payload").ok_or(Corrupt::Malformed)?,
        status: fields.text("status").ok_or(Corrupt::Malformed)?,
        priority: u8::try_from(small("priority")).unwrap_or(9),
        attempts: small("attempts"),
        max_attempts: small("max_attempts"),
        run_at: fields.number("run_at").unwrap_or(0),
        created_at: fields.number("created").unwrap_or(0),
        started_at: fields.number("started"),
        finished_at: fields.number("finished"),
        error: fields.text("error"),
        result: fields.json("result"),
        progress: fields.number("percent").map(|percent| Progress {
            percent: u8::try_from(percent.min(100)).unwrap_or(100),
            message: fields.text("message").unwrap_or_default(),
        }),
    })
}
