//! The worker's side of the queue: jobs are claimed under a lease, and each attempt is ended by who has it.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use redis::Value;

use super::{FINISHED_KEPT, Queue, RETENTION, job_key, milliseconds};
use crate::{
    connection::Connection,
    entry::Corrupt,
    error::{Effect, Error},
    keyring::{Keyring, Place},
    script,
};

/// One attempt at a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub id: String,
    pub kind: String,
    /// JSON text.
    pub payload: String,
    /// From 1.
    pub attempt: u32,
    pub max_attempts: u32,
    /// Tells this claim from every other of the same job.
    number: i64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// JSON text for the job's status, and bytes to be fetched by themselves.
    Succeeded { result: String, bytes: Vec<u8> },
    /// To be tried again after this long, or dead where no attempt is left.
    Failed { error: String, retry_after: Duration },
    /// No further attempt can help.
    Dead { error: String },
    /// Not begun: it goes back as it was.
    Released,
}

/// One worker's claims.
#[derive(Clone, Debug)]
pub struct Claims {
    connection: Connection,
    keyring: Option<Keyring>,
    worker: String,
    lease: Duration,
}

impl Claims {
    /// `worker` names this process and no other, ever.
    pub fn new(queue: &Queue, worker: String, lease: Duration) -> Self {
        Self { connection: queue.connection.clone(), keyring: queue.keyring.clone(), worker, lease }
    }

    /// Claims up to `limit` jobs and renews the lease; gives also how many are left ready.
    pub async fn fetch(&self, limit: u32) -> Result<(Vec<Claim>, u64), Error> {
        let (limit, lease) = (limit.min(100).to_string(), milliseconds(self.lease).to_string());
        let (retention, kept) = (RETENTION.as_secs().to_string(), FINISHED_KEPT.to_string());
        let keys: [&[u8]; 1] = [b"jobs:{j}:workers"];
        let arguments: [&[u8]; 5] = [
            self.worker.as_bytes(),
            limit.as_bytes(),
            lease.as_bytes(),
            retention.as_bytes(),
            kept.as_bytes(),
        ];
        let answer: Vec<Value> =
            self.connection.eval(&script::JOB_FETCH, Effect::Write, &keys, &arguments).await?;
        let mut fields = answer.into_iter();
        let Some(Value::Int(left)) = fields.next() else { return Err(Corrupt::Malformed.into()) };
        let mut claims = Vec::new();
        while let Some(id) = fields.next() {
            let (
                Some(kind),
                Some(payload),
                Some(Value::Int(attempt)),
                Some(Value::Int(most)),
                Some(Value::Int(number)),
            ) = (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return Err(Corrupt::Malformed.into());
            };
            claims.push(Claim {
                id: text(id)?,
                kind: text(kind)?,
                payload: text(payload)?,
                attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
                max_attempts: u32::try_from(most).unwrap_or(u32::MAX),
                number,
            });
        }
        Ok((claims, left.unsigned_abs()))
    }

    /// Renews the lease on the jobs that this worker has, and gives back what it was given and does not have; says how
    /// many those were.
    pub async fn renew(&self, held: &[String]) -> Result<u64, Error> {
        let lease = milliseconds(self.lease).to_string();
        let (retention, kept) = (RETENTION.as_secs().to_string(), FINISHED_KEPT.to_string());
        let running = format!("jobs:{{j}}:running:{}", self.worker);
        let keys: [&[u8]; 2] = [b"jobs:{j}:workers", running.as_bytes()];
        let mut arguments: Vec<&[u8]> =
            vec![self.worker.as_bytes(), lease.as_bytes(), retention.as_bytes(), kept.as_bytes()];
        arguments.extend(held.iter().map(String::as_bytes));
        self.connection.eval(&script::JOB_RENEW, Effect::Write, &keys, &arguments).await
    }

    /// Ends an attempt; false where the lease had run out and somebody else has the job.
    pub async fn end(&self, claim: &Claim, ending: &Ending) -> Result<bool, Error> {
        let sealed = match ending {
            Ending::Succeeded { bytes, .. } if !bytes.is_empty() => {
                Keyring::seal_record(self.keyring.as_ref(), Place::JobResult(&claim.id), bytes.clone())?
            }
            _ => Vec::new(),
        };
        let (outcome, error, result, bytes, delay): (&str, &str, &str, &[u8], Duration) = match ending {
            Ending::Succeeded { result, .. } => ("succeeded", "", result, &sealed, Duration::ZERO),
            Ending::Failed { error, .. } if claim.attempt >= claim.max_attempts => {
                ("dead", error, "", &[], Duration::ZERO)
            }
            Ending::Failed { error, retry_after } => ("retry", error, "", &[], *retry_after),
            Ending::Dead { error } => ("dead", error, "", &[], Duration::ZERO),
            Ending::Released => ("released", "", "", &[], Duration::ZERO),
        };
        let (number, delay) = (claim.number.to_string(), milliseconds(delay).to_string());
        let (retention, kept) = (RETENTION.as_secs().to_string(), FINISHED_KEPT.to_string());
        let key = job_key(&claim.id);
        let arguments: [&[u8]; 10] = [
            claim.id.as_bytes(),
            self.worker.as_bytes(),
            number.as_bytes(),
            outcome.as_bytes(),
            error.as_bytes(),
            result.as_bytes(),
            bytes,
            delay.as_bytes(),
            retention.as_bytes(),
            kept.as_bytes(),
        ];
        self.connection.eval(&script::JOB_FINISH, Effect::Write, &[key.as_bytes()], &arguments).await
    }
}

/// Tells when jobs become ready, on a connection of its own.
pub struct Wake {
    messages: redis::aio::PubSubStream,
    _sink: redis::aio::PubSubSink,
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Wake").finish_non_exhaustive()
    }
}

impl Wake {
    pub async fn subscribe(queue: &Queue) -> Result<Self, Error> {
        let failed = |error: redis::RedisError| Error::from_redis(&error, Effect::Read);
        let client = queue.connection.options().client()?;
        let pubsub = client.get_async_pubsub().await.map_err(failed)?;
        let (mut sink, messages) = pubsub.split();
        sink.subscribe("jobs:{j}:wake").await.map_err(failed)?;
        Ok(Self { messages, _sink: sink })
    }

    /// Waits for the next call; false where the connection is gone.
    pub async fn wait(&mut self) -> bool {
        let called = self.messages.next().await.is_some();
        // One look is enough for all calls that have come meanwhile.
        while let Some(Some(_)) = self.messages.next().now_or_never() {}
        called
    }
}

fn text(value: Value) -> Result<String, Error> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8(bytes).map_err(|_| Corrupt::Malformed)?),
        _ => Err(Corrupt::Malformed.into()),
    }
}
