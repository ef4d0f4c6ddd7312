//! The audit log: who did what with which key, and what came of it; never a value.
//!
//! It is a stream of bounded length in the tenant's Redis. Gateways write it in batches, the worker sends it on from where it
//! stopped. What leaves the log before it was sent is counted exactly, also what a gateway had to drop before it got here.

use std::borrow::Cow;

use jiff::Timestamp;
use redis::{FromRedisValue as _, Value, cmd};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::{
    connection::{Connection, from_value},
    entry::Corrupt,
    error::{Effect, Error},
    feed::EventId,
    script::{self, Call},
};

const LOG: &[u8] = b"audit:{l}:log";
const STATE: &[u8] = b"audit:{l}:state";
/// How long the last batch of a gateway is remembered, in seconds: one that is repeated later is written twice.
const REMEMBERED: u64 = 24 * 3600;
/// Values of an entry in the log, each under the name of one letter: a stream keeps names only once where all entries have the same.
const NAMES: [&[u8]; 8] = [b"p", b"o", b"k", b"t", b"n", b"s", b"r", b"a"];

/// What is to be written down of a request.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    /// User or API key; none: nobody who is known.
    pub principal: Option<Cow<'a, str>>,
    pub operation: Cow<'a, str>,
    pub key: Option<Cow<'a, str>>,
    /// What else it was done to: a job, an API key, an account.
    pub target: Option<Cow<'a, str>>,
    /// How many operations a batch had.
    pub items: Option<usize>,
    /// Of HTTP.
    pub status: u16,
    pub request_id: Cow<'a, str>,
    /// Milliseconds since it was answered.
    pub age: u64,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    #[serde(serialize_with = "as_text")]
    pub id: EventId,
    /// When the request was answered, in milliseconds since 1970-01-01T00:00:00Z by Redis' clock.
    #[serde(serialize_with = "as_time")]
    pub time: u64,
    pub principal: Option<String>,
    pub operation: String,
    pub key: Option<String>,
    pub target: Option<String>,
    pub items: Option<u64>,
    pub status: u16,
    pub request_id: String,
}

/// A part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// How many there are in all.
    pub total: u64,
    pub counts: AuditCounts,
}

/// What has become of entries that are not to be read any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Never sent: they left the log before, or never came to it.
    pub dropped: u64,
    /// The receiver did not want them.
    pub refused: u64,
}

/// The oldest entries that were not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// In order.
    pub entries: Vec<AuditEntry>,
    /// How many there are behind them.
    pub left: u64,
    after: String,
    position: u64,
    gone: u64,
}

/// Whether there is anything to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub unsent: u64,
    /// What left the log before it was sent, or never came to it.
    pub dropped: u64,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// When the next one is to be made, in milliseconds since 1970-01-01T00:00:00Z; 0: at once.
    pub retry_at: u64,
}

/// Who writes: batches that it repeats are written once.
#[derive(Debug)]
pub struct Writer {
    key: Vec<u8>,
    batch: u64,
}

impl Default for Writer {
    fn default() -> Self {
        let key = format!("audit:{{l}}:writer:{}", Uuid::now_v7().simple()).into_bytes();
        Self { key, batch: 1 }
    }
}

impl Writer {
    /// The batch before is done with, whatever came of it.
    pub fn next(&mut self) {
        self.batch += 1;
    }
}

/// The audit log of a tenant.
#[derive(Clone, Debug)]
pub struct AuditLog {
    connection: Connection,
}

impl AuditLog {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Writes a batch, and that `dropped` entries were dropped before; repeated until [`Writer::next`] it is the same batch. The log
    /// then holds the newest `bound` entries. Where Redis is full, they take the place of the oldest.
    pub async fn append(
        &self,
        writer: &Writer,
        entries: &[NewEntry<'_>],
        dropped: u64,
        bound: u64,
    ) -> Result<(), Error> {
        let write = async |script, room: &str| {
            let bytes: usize = entries.iter().map(NewEntry::size).sum();
            let mut call = Call::sized(script, &[LOG, STATE, &writer.key], 64 + bytes);
            call.arg(bound).arg(writer.batch).arg(dropped).arg(REMEMBERED).arg(room);
            for entry in entries {
                entry.push(&mut call);
            }
            self.connection.call_as::<u8>(&call, Effect::Write).await.map(drop)
        };
        match write(&script::AUDIT_APPEND, "").await {
            Err(Error::Full) => write(&script::AUDIT_EXCHANGE, "full").await,
            done => done,
        }
    }

    /// Entries before this one, the newest first.
    pub async fn page(&self, before: Option<EventId>, limit: u64) -> Result<AuditPage, Error> {
        let end = before.map_or_else(|| "+".to_owned(), |before| format!("({before}"));
        let mut reads = redis::pipe();
        reads.cmd("XREVRANGE").arg(LOG).arg(end).arg("-").arg("COUNT").arg(limit);
        reads.cmd("XLEN").arg(LOG);
        reads.cmd("HMGET").arg(STATE).arg("dropped").arg("refused");
        let answers = self.connection.pipeline(&reads, Vec::new(), Effect::Read).await?;
        let [entries, total, counts] = <[_; 3]>::try_from(answers).map_err(|_| Corrupt::Malformed)?;
        let (dropped, refused): (Option<u64>, Option<u64>) = from_value(counts?)?;
        let entries: Vec<Value> = from_value(entries?)?;
        Ok(AuditPage {
            entries: entries.into_iter().map(entry_of).collect::<Result<_, _>>()?,
            total: from_value(total?)?,
            counts: AuditCounts { dropped: dropped.unwrap_or(0), refused: refused.unwrap_or(0) },
        })
    }

    /// Whether there is anything to send, and when.
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        let mut read = cmd("HMGET");
        read.arg(STATE).arg(&["added", "gone", "sent", "dropped", "failures", "retry_at"]);
        let known: [Option<u64>; 6] = self.connection.read(&read).await?;
        let [added, gone, sent, dropped, failures, retry_at] = known.map(|number| number.unwrap_or(0));
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        Ok(Backlog { unsent: added.saturating_sub(gone.max(sent)), dropped, failures, retry_at })
    }

    /// The oldest entries that were not sent.
    pub async fn unsent(&self, limit: u64) -> Result<Unsent, Error> {
        let limit = limit.to_string();
        let (after, position, gone, left, entries): (String, u64, u64, u64, Vec<Value>) = self
            .connection
            .eval(&script::AUDIT_UNSENT, Effect::Read, &[LOG, STATE], &[limit.as_bytes()])
            .await?;
        let entries = entries.into_iter().map(entry_of).collect::<Result<_, _>>()?;
        Ok(Unsent { entries, left, after, position, gone })
    }

    /// Notes that these were sent, or that the receiver will never take them; false where somebody else has sent meanwhile.
    pub async fn sent(&self, these: &Unsent, are_refused: bool) -> Result<bool, Error> {
        let Some(last) = these.entries.last() else { return Ok(true) };
        let refused = if are_refused { these.entries.len() } else { 0 };
        let mut call = Call::new(&script::AUDIT_SENT, &[STATE]);
        call.arg(&these.after).arg(last.id.to_string()).arg(these.position).arg(these.gone).arg(refused);
        Ok(self.connection.call_as::<u8>(&call, Effect::Write).await? == 1)
    }

    /// Notes that sending has failed, and when it is to be tried again.
    pub async fn failed(&self, failures: u32, retry_at: u64) -> Result<(), Error> {
        let mut note = cmd("HSET");
        note.arg(STATE).arg("failures").arg(failures).arg("retry_at").arg(retry_at);
        self.connection.run::<u64>(&note, Effect::Write).await.map(drop)
    }
}

impl NewEntry<'_> {
    fn size(&self) -> usize {
        let texts = [&self.principal, &self.key, &self.target].into_iter().flatten();
        texts.map(|text| text.len()).sum::<usize>() + self.operation.len() + self.request_id.len() + 96
    }

    fn push(&self, call: &mut Call) {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
        call.arg(text(&self.principal)).arg(&*self.operation).arg(text(&self.key)).arg(text(&self.target));
        call.arg(self.items.map_or_else(String::new, |items| items.to_string()));
        call.arg(self.status).arg(&*self.request_id).arg(self.age);
    }
}

/// An entry as Redis gives it.
fn entry_of(value: Value) -> Result<AuditEntry, Error> {
    let (id, fields) = <(String, Vec<Vec<u8>>)>::from_redis_value(value).map_err(|_| Corrupt::Malformed)?;
    let mut texts = NAMES.map(|name| {
        let value = fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| &pair[1][..]);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    });
    let number = |text: &str| text.parse::<u64>().map_err(|_| Corrupt::Malformed);
    let id: EventId = id.parse().map_err(|_| Corrupt::Malformed)?;
    let [principal, operation, key, target, items, status, request_id, age] =
        texts.each_mut().map(std::mem::take);
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(AuditEntry {
        id,
        time: id.milliseconds().saturating_sub(number(&age)?),
        principal: some(principal),
        operation,
        key: some(key),
        target: some(target),
        items: some(items).map(|items| number(&items)).transpose()?,
        status: status.parse().map_err(|_| Corrupt::Malformed)?,
        request_id,
    })
}

fn as_text<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// RFC 3339 in UTC, to the millisecond.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn as_time<S: Serializer>(milliseconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let time = i64::try_from(*milliseconds).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    serializer.collect_str(&format_args!("{:.3}", time.unwrap_or_default()))
}
