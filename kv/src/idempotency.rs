//! Requests that were carried out, by the key that their client gave them, so that none is carried out twice.

use redis::cmd;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    connection::Connection,
    entry::Corrupt,
    error::{Effect, Error},
    keyring::{Keyring, Place},
    script,
    store::{buckets, place},
};

/// How long an answer is remembered, in seconds.
const LIFE: u64 = 24 * 3600;

/// An answer that is given again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// Of the request's body.
    fingerprint: String,
    /// Tells one that is under way from every other attempt at the same request.
    #[serde(default)]
    attempt: String,
    /// None: it is under way, or its end was never told.
    answer: Option<Answer>,
}

/// A request that is to be carried out.
#[derive(Debug)]
pub struct Attempt {
    id: String,
    fingerprint: String,
    /// What is kept of it while it is under way: of this attempt and of no other.
    record: Vec<u8>,
}

/// What is known of a request.
#[derive(Debug)]
pub enum Known {
    /// Nothing: from now on it is under way.
    New,
    /// It was begun, and nobody has told of its end.
    Begun,
    /// There was another request with this key.
    Other,
    Answered(Answer),
}

/// The requests of a tenant that clients gave a key.
#[derive(Clone, Debug)]
pub struct Requests {
    connection: Connection,
    keyring: Option<Keyring>,
}

impl Requests {
    /// With a keyring what is remembered is encrypted: answers hold values, and so, for who can guess, does the hash of a
    /// body.
    pub fn new(connection: Connection, keyring: Option<Keyring>) -> Self {
        Self { connection, keyring }
    }

    /// `id` and `fingerprint` are hashes.
    pub fn attempt(&self, id: String, fingerprint: String) -> Result<Attempt, Error> {
        let attempt = Uuid::now_v7().to_string();
        let record = self.encode(&id, &Record { fingerprint: fingerprint.clone(), attempt, answer: None })?;
        Ok(Attempt { id, fingerprint, record })
    }

    /// Begins a request, unless there was one.
    pub async fn begin(&self, attempt: &Attempt) -> Result<Known, Error> {
        let Attempt { id, fingerprint, record } = attempt;
        let mut set = cmd("SET");
        set.arg(self.key(id)).arg(record).arg("NX").arg("GET").arg("EX").arg(LIFE);
        let before: Option<Vec<u8>> = self.connection.run(&set, Effect::Write).await?;
        let Some(before) = before else { return Ok(Known::New) };
        let before = Keyring::open_record(self.keyring.as_ref(), Place::Request(id), before)?;
        let before: Record = serde_json::from_slice(&before).map_err(|_| Corrupt::Malformed)?;
        Ok(match before.answer {
            _ if before.fingerprint != *fingerprint => Known::Other,
            None => Known::Begun,
            Some(answer) => Known::Answered(answer),
        })
    }

    /// It was carried out, with this answer.
    pub async fn end(&self, attempt: &Attempt, answer: Answer) -> Result<(), Error> {
        let (id, fingerprint) = (&attempt.id, attempt.fingerprint.clone());
        let record =
            self.encode(id, &Record { fingerprint, attempt: String::new(), answer: Some(answer) })?;
        self.connection.run(cmd("SET").arg(self.key(id)).arg(record).arg("EX").arg(LIFE), Effect::Write).await
    }

    /// Nothing was carried out by this attempt: the request may be sent again. False where nothing is kept of the attempt.
    pub async fn forget(&self, attempt: &Attempt) -> Result<bool, Error> {
        let key = self.key(&attempt.id);
        self.connection
            .eval(&script::REQUEST_FORGET, Effect::Write, &[key.as_bytes()], &[&attempt.record])
            .await
    }

    fn key(&self, id: &str) -> String {
        let buckets = buckets(self.connection.cluster().is_some());
        [&buckets[place(id, buckets.len())].request, id].concat()
    }

    fn encode(&self, id: &str, record: &Record) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(record).map_err(|_| Corrupt::Malformed)?;
        Keyring::seal_record(self.keyring.as_ref(), Place::Request(id), json)
    }
}
