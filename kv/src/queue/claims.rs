//! The worker's side of the queue: jobs are claimed under a lease, and each attempt is ended by who has it.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _};
use redis::Value;

use super::{
    FINISHED_KEPT, Queue, RETENTION, job_key, milliseconds,
    parts::{MAX_PARTS, part_key, parts_key, seal},
};
use crate::{
    connection::Connection,
    entry::Corrupt,
    error::{Effect, Error},
    keyring::Keyring,
    script,
};

/// Where it is told that jobs are ready: of the same hash tag as the queue's keys, so that it is told where those are.
const WAKE: &[u8] = b"jobs:{j}:wake";

const WORKERS: &[u8] = b"jobs:{j}:workers";

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
    /// The `traceparent` of what has queued it.
    pub trace: Option<String>,
    /// What an attempt before has left for this one.
    pub checkpoint: Option<String>,
    /// Tells this claim from every other of the same job.
    number: i64,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report<'a> {
    /// 0–100; none: as it was said last.
    pub percent: Option<u8>,
    /// For people, beside the percentage: the first [`MESSAGE_CHARACTERS`] of it are kept.
    pub message: &'a str,
    /// For who goes on where this attempt ends; none: as it was said last.
    pub checkpoint: Option<&'a str>,
}

/// What became of a part that a job wanted to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Kept,
    /// Somebody else has the job.
    Lost,
    /// There would be more bytes than may be.
    TooMuch,
}

/// How much of a report's message is kept.
const MESSAGE_CHARACTERS: usize = 200;

/// How many attempts are ended by one call at most.
pub const ENDS: usize = 100;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// JSON text for the job's status.
    Succeeded { result: String },
    /// To be tried again after this long, or dead where no attempt is left.
    Failed { error: String, retry_after: Duration },
    /// No further attempt can help.
    Dead { error: String },
    /// Not begun: it goes back as it was.
    Released,
}

impl Ending {
    /// How long its texts are.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Succeeded { result: text }
            | Self::Failed { error: text, .. }
            | Self::Dead { error: text } => text.len(),
            Self::Released => 0,
        }
    }
}

impl Report<'_> {
    /// As the scripts take it.
    fn texts(&self) -> [String; 3] {
        [
            self.percent.map_or_else(String::new, |percent| percent.min(100).to_string()),
            self.message.chars().take(MESSAGE_CHARACTERS).collect(),
            self.checkpoint.unwrap_or_default().to_owned(),
        ]
    }
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
        let keys: [&[u8]; 1] = [WORKERS];
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
                Some(trace),
                Some(checkpoint),
            ) = (
                fields.next(),
                fields.next(),
                fields.next(),
                fields.next(),
                fields.next(),
                fields.next(),
                fields.next(),
            )
            else {
                return Err(Corrupt::Malformed.into());
            };
            claims.push(Claim {
                id: text(id)?,
                kind: text(kind)?,
                payload: text(payload)?,
                attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
                max_attempts: u32::try_from(most).unwrap_or(u32::MAX),
                trace: Some(text(trace)?).filter(|trace| !trace.is_empty()),
                checkpoint: Some(text(checkpoint)?).filter(|checkpoint| !checkpoint.is_empty()),
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
        let keys: [&[u8]; 2] = [WORKERS, running.as_bytes()];
        let mut arguments: Vec<&[u8]> =
            vec![self.worker.as_bytes(), lease.as_bytes(), retention.as_bytes(), kept.as_bytes()];
        arguments.extend(held.iter().map(String::as_bytes));
        self.connection.eval(&script::JOB_RENEW, Effect::Write, &keys, &arguments).await
    }

    /// Says how far an attempt is, and renews the lease; false where somebody else has the job.
    pub async fn report(&self, claim: &Claim, report: &Report<'_>) -> Result<bool, Error> {
        let ([percent, message, checkpoint], number) = (report.texts(), claim.number.to_string());
        let (key, lease) = (job_key(&claim.id), milliseconds(self.lease).to_string());
        let keys: [&[u8]; 2] = [key.as_bytes(), WORKERS];
        let arguments = [&claim.id, &self.worker, &number, &lease, &percent, &message, &checkpoint];
        let arguments = arguments.map(String::as_bytes);
        self.connection.eval(&script::JOB_REPORT, Effect::Write, &keys, &arguments).await
    }

    /// Adds a part, numbered from 0, to the bytes that the job leaves, and says how far the attempt is. `most`: bytes that all
    /// parts may have when they are compressed.
    pub async fn leave(
        &self,
        claim: &Claim,
        number: u32,
        plain: &[u8],
        report: &Report<'_>,
        most: u64,
    ) -> Result<Left, Error> {
        if number >= MAX_PARTS {
            return Ok(Left::TooMuch);
        }
        let bytes = seal(self.keyring.as_ref(), &claim.id, number, plain)?;
        let key = job_key(&claim.id);
        let (parts, part) = (parts_key(&claim.id), part_key(&claim.id, number));
        let keys: [&[u8]; 3] = [key.as_bytes(), parts.as_bytes(), part.as_bytes()];
        let [percent, message, checkpoint] = report.texts();
        let numbers = [
            claim.number.to_string(),
            number.to_string(),
            plain.len().to_string(),
            RETENTION.as_secs().to_string(),
            most.to_string(),
        ];
        let [of_claim, number, length, retention, most] = numbers.each_ref().map(String::as_bytes);
        let arguments: [&[u8]; 11] = [
            claim.id.as_bytes(),
            self.worker.as_bytes(),
            of_claim,
            percent.as_bytes(),
            message.as_bytes(),
            checkpoint.as_bytes(),
            number,
            &bytes,
            length,
            retention,
            most,
        ];
        let left: i8 = self.connection.eval(&script::JOB_LEAVE, Effect::Write, &keys, &arguments).await?;
        Ok(match left {
            1 => Left::Kept,
            0 => Left::Lost,
            _ => Left::TooMuch,
        })
    }

    /// Ends an attempt; false where the lease had run out and somebody else has the job.
    pub async fn end(&self, claim: &Claim, ending: &Ending) -> Result<bool, Error> {
        Ok(self.end_all(&[(claim, ending)]).await?.first() == Some(&true))
    }

    /// Ends up to [`ENDS`] attempts with one call, and says of each what [`Self::end`] says.
    pub async fn end_all(&self, ends: &[(&Claim, &Ending)]) -> Result<Vec<bool>, Error> {
        let (retention, kept) = (RETENTION.as_secs().to_string(), FINISHED_KEPT.to_string());
        let numbers: Vec<[String; 3]> = ends
            .iter()
            .map(|(claim, ending)| {
                let delay = match ending {
                    Ending::Failed { retry_after, .. } => milliseconds(*retry_after),
                    _ => 0,
                };
                [job_key(&claim.id), claim.number.to_string(), delay.to_string()]
            })
            .collect();
        let keys: Vec<&[u8]> = numbers.iter().map(|[key, ..]| key.as_bytes()).collect();
        let mut arguments: Vec<&[u8]> = vec![self.worker.as_bytes(), retention.as_bytes(), kept.as_bytes()];
        for ((claim, ending), [_, number, delay]) in ends.iter().zip(&numbers) {
            let (outcome, error, result) = match ending {
                Ending::Succeeded { result } => ("succeeded", "", result.as_str()),
                Ending::Failed { error, .. } if claim.attempt < claim.max_attempts => {
                    ("retry", error.as_str(), "")
                }
                Ending::Failed { error, .. } | Ending::Dead { error } => ("dead", error.as_str(), ""),
                Ending::Released => ("released", "", ""),
            };
            arguments.extend([&claim.id, number, outcome, error, result, delay].map(str::as_bytes));
        }
        self.connection.eval(&script::JOB_FINISH, Effect::Write, &keys, &arguments).await
    }
}

/// Tells when jobs become ready, on a connection of its own.
pub struct Wake {
    messages: redis::aio::PubSubStream,
    _sink: redis::aio::PubSubSink,
    connection: Connection,
    /// The Redis that it listens to.
    address: Arc<str>,
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Wake").finish_non_exhaustive()
    }
}

impl Wake {
    pub async fn subscribe(queue: &Queue) -> Result<Self, Error> {
        let failed = |error: redis::RedisError| Error::from_redis(&error, Effect::Read);
        let connection = queue.connection.clone();
        let address = connection.find_primary(WAKE).await?;
        let options = connection.options();
        let client = options.client_of(&address)?;
        let subscribed = async {
            let (mut sink, messages) = client.get_async_pubsub().await.map_err(failed)?.split();
            sink.subscribe(WAKE).await.map_err(failed)?;
            Ok::<_, Error>((sink, messages))
        };
        // The library has no limit of its own there, and an address may lead to a pod that is gone.
        let within = options.connect_timeout + options.response_timeout;
        let subscribed = tokio::time::timeout(within, subscribed).await;
        let (sink, messages) =
            subscribed.map_err(|_| Error::Unavailable("it takes no subscription in time".into()))??;
        Ok(Self { messages, _sink: sink, connection, address })
    }

    /// Waits for the next call; false where the connection is gone, or another Redis is the primary.
    pub async fn wait(&mut self) -> bool {
        let called = tokio::select! {
            message = self.messages.next() => message.is_some(),
            () = self.connection.is_other_primary(WAKE, &self.address) => return false,
        };
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
