//! The change feed of a store: what was put, deleted and has expired, in order.
//!
//! It is a stream in the tenant's Redis that is written only while somebody watches and for an hour afterwards, and holds
//! about the last 10,000 events. An event tells that a key has changed, not its value.

use std::{fmt, pin::Pin, str::FromStr, time::Duration};

use redis::{FromRedisValue as _, Value, cmd};
use tokio::sync::futures::OwnedNotified;

use crate::{
    connection::Connection,
    error::{Effect, Error},
    script,
};

pub(crate) const FEED: &[u8] = b"kv:{0}:f";
/// Events that one call gives, at most.
const BATCH: usize = 500;
/// How long a feed is written that nobody asks for, in seconds.
const LIFE: u64 = 3600;

/// How often a feed is asked for of whose changes Redis does not tell.
const UNTOLD: Duration = Duration::from_millis(100);

/// Where an event stands: the id of an entry of a Redis stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    milliseconds: u64,
    sequence: u64,
}

impl EventId {
    /// Since 1970-01-01T00:00:00Z, of Redis' clock.
    pub fn milliseconds(self) -> u64 {
        self.milliseconds
    }

    /// Among those of one millisecond.
    pub fn sequence(self) -> u64 {
        self.sequence
    }
}

/// The text is no [`EventId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is two whole numbers, as in 1700000000000-0")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (milliseconds, sequence) = text.split_once('-').ok_or(InvalidEventId)?;
        let number = |text: &str| {
            let is_number = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten().ok_or(InvalidEventId)
        };
        Ok(Self { milliseconds: number(milliseconds)?, sequence: number(sequence)? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.milliseconds, self.sequence)
    }
}

/// What has happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has this version now.
    Put(u64),
    Deleted,
    Expired,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub key: String,
    pub change: Change,
}

/// What has happened since an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// Events may be missing before the first of these.
    pub are_lost: bool,
    /// In order, all or the first few hundred.
    pub events: Vec<Event>,
    /// Where to go on.
    pub last: EventId,
}

/// The change feed of a tenant.
#[derive(Clone, Debug)]
pub struct Feed {
    connection: Connection,
}

impl Feed {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// What has happened since an event; without one nothing yet, and from here on everything.
    pub async fn since(&self, event: Option<EventId>) -> Result<Since, Error> {
        let after = event.map_or_else(String::new, |event| event.to_string());
        let (most, life) = (BATCH.to_string(), LIFE.to_string());
        let arguments: [&[u8]; 3] = [after.as_bytes(), most.as_bytes(), life.as_bytes()];
        // Carried out twice it does what it does once.
        let (are_lost, last, events): (u8, String, Vec<Value>) =
            self.connection.eval(&script::FEED_FOLLOW, Effect::Read, &[FEED], &arguments).await?;
        let events = events.into_iter().filter_map(event_of).collect();
        Ok(Since { are_lost: are_lost == 1, events, last: last.parse().map_err(|_| unexpected())? })
    }

    /// Listens from now on: what happens after this call ends [`Listening::wait`], whenever that begins.
    pub async fn listen(&self) -> Result<Listening, Error> {
        let mut changed = Box::pin(self.connection.caches().feed_changed.clone().notified_owned());
        changed.as_mut().enable();
        // Redis tells once that what was read has changed; what it was does not matter.
        let (_length, is_told): (u64, bool) = self.connection.read_tracked(cmd("XLEN").arg(FEED)).await?;
        Ok(Listening { changed, is_told })
    }
}

/// Waits for the next change.
#[derive(Debug)]
pub struct Listening {
    changed: Pin<Box<OwnedNotified>>,
    is_told: bool,
}

impl Listening {
    /// Ends when something may have happened, or after a while.
    pub async fn wait(self, at_most: Duration) {
        let at_most = if self.is_told { at_most } else { at_most.min(UNTOLD) };
        let _ = tokio::time::timeout(at_most, self.changed).await;
    }
}

fn unexpected() -> Error {
    Error::Refused("an unexpected answer of feed_follow.lua".into())
}

/// None for the first entry of a feed, which is no event.
fn event_of(value: Value) -> Option<Event> {
    let (id, fields) = <(String, Vec<Vec<u8>>)>::from_redis_value(value).ok()?;
    let field = |name: &[u8]| {
        fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| String::from_utf8_lossy(&pair[1]))
    };
    let change = match &*field(b"op")? {
        "put" => Change::Put(field(b"version")?.parse().ok()?),
        "delete" => Change::Deleted,
        "expire" => Change::Expired,
        _ => return None,
    };
    Some(Event { id: id.parse().ok()?, key: field(b"key")?.into_owned(), change })
}
