//! Bytes that jobs leave and take, of any length: kept in parts, so that nobody ever holds all of them, and no value in Redis
//! is large.
//!
//! They are kept under an id: of the job that leaves them, or of an input. A part is compressed (gzip, RFC 1952), then encrypted
//! where the tenant asks for it.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use redis::{Value, cmd};
use uuid::Uuid;

use super::{Fields, Queue};
use crate::{
    entry::Corrupt,
    error::{Effect, Error},
    keyring::{Keyring, Place},
    script,
};

/// Bytes of a part, as they are before they are compressed; a little more where a line ends later.
pub const PART_BYTES: usize = 256 * 1024;
/// Most parts: a script that drops them is done in a few milliseconds.
pub(super) const MAX_PARTS: u32 = 16_384;
/// Bytes that an input may have when it is compressed.
pub const MAX_INPUT_BYTES: u64 = 1024 * 1024 * 1024;
/// How long an input is kept.
const INPUT_LIFE: Duration = Duration::from_hours(24);
/// No part of ours is as large: one that is would be somebody's trap.
const MAX_PLAIN: u64 = 64 * 1024 * 1024;

/// What is kept under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    pub count: u32,
    /// As they are read.
    pub bytes: u64,
}

/// An input that is being written.
#[derive(Debug)]
pub struct Input {
    queue: Queue,
    id: String,
    parts: u32,
    bytes: u64,
}

impl Queue {
    /// What is kept under an id, once it is whole.
    pub async fn parts(&self, id: &str) -> Result<Option<Parts>, Error> {
        let Some(fields) = Fields::of(self.connection.read(cmd("HGETALL").arg(parts_key(id))).await?)? else {
            return Ok(None);
        };
        let count = fields.number("count").and_then(|count| u32::try_from(count).ok());
        let parts = count.map(|count| Parts { count, bytes: fields.number("bytes").unwrap_or(0) });
        Ok(parts.filter(|_| fields.number("whole").is_some()))
    }

    /// One of the parts; none where it is not kept any more.
    pub async fn part(&self, id: &str, number: u32) -> Result<Option<Vec<u8>>, Error> {
        let bytes: Option<Vec<u8>> = self.connection.read(cmd("GET").arg(part_key(id, number))).await?;
        Ok(bytes.map(|bytes| open(self.keyring.as_ref(), id, number, bytes)).transpose()?)
    }

    /// Begins an input: nobody sees it before it is whole.
    pub fn begin_input(&self) -> Input {
        Input { queue: self.clone(), id: Uuid::now_v7().to_string(), parts: 0, bytes: 0 }
    }
}

impl Input {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Bytes that have come so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds to it; false where it would be too large.
    pub async fn add(&mut self, plain: &[u8], is_last: bool) -> Result<bool, Error> {
        if self.parts >= MAX_PARTS {
            return Ok(false);
        }
        let queue = &self.queue;
        let bytes = seal(queue.keyring.as_ref(), &self.id, self.parts, plain)?;
        let (parts, part) = (parts_key(&self.id), part_key(&self.id, self.parts));
        let keys: [&[u8]; 2] = [parts.as_bytes(), part.as_bytes()];
        let numbers = [
            self.parts.to_string(),
            plain.len().to_string(),
            INPUT_LIFE.as_secs().to_string(),
            MAX_INPUT_BYTES.to_string(),
        ];
        let [number, length, life, most] = numbers.each_ref().map(String::as_bytes);
        let last: &[u8] = if is_last { b"1" } else { b"0" };
        let arguments = [self.id.as_bytes(), number, &bytes, length, life, most, last];
        let kept: bool = queue.connection.eval(&script::INPUT_PART, Effect::Write, &keys, &arguments).await?;
        self.parts += 1;
        self.bytes += plain.len() as u64;
        Ok(kept)
    }

    /// Forgets what has come of it.
    pub async fn give_up(self) -> Result<(), Error> {
        let parts = parts_key(&self.id);
        let keys: [&[u8]; 1] = [parts.as_bytes()];
        let arguments = [self.id.as_bytes()];
        let _dropped: Value =
            self.queue.connection.eval(&script::DROP_PARTS, Effect::Write, &keys, &arguments).await?;
        Ok(())
    }
}

pub(super) fn parts_key(id: &str) -> String {
    format!("jobs:{{j}}:parts:{id}")
}

pub(super) fn part_key(id: &str, number: u32) -> String {
    format!("jobs:{{j}}:part:{id}:{number}")
}

/// A part as it is kept.
pub(super) fn seal(keyring: Option<&Keyring>, id: &str, number: u32, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    // Into memory: it cannot fail.
    let compressed = encoder.write_all(plain).and_then(|()| encoder.finish());
    let compressed = compressed.map_err(|error| Error::Refused(format!("no compression: {error}")))?;
    Keyring::seal_record(keyring, Place::Part(id, number), compressed)
}

fn open(keyring: Option<&Keyring>, id: &str, number: u32, bytes: Vec<u8>) -> Result<Vec<u8>, Corrupt> {
    let compressed = Keyring::open_record(keyring, Place::Part(id, number), bytes)?;
    let mut plain = Vec::with_capacity(PART_BYTES + PART_BYTES / 8);
    let read = GzDecoder::new(&compressed[..]).take(MAX_PLAIN).read_to_end(&mut plain);
    if read.is_err() || plain.len() as u64 == MAX_PLAIN { Err(Corrupt::Malformed) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_as_it_was_and_one_that_swells_without_end_is_not() {
        let text = "{\"key\":\"a\"}\n".repeat(1000);
        let kept = seal(None, "id", 0, text.as_bytes()).unwrap();
        assert!(kept.len() * 10 < text.len(), "{} bytes", kept.len());
        assert_eq!(open(None, "id", 0, kept).unwrap(), text.as_bytes());
        assert_eq!(open(None, "id", 0, b"no gzip".to_vec()), Err(Corrupt::Malformed));
        let large = seal(None, "id", 0, &vec![0; 64 * 1024 * 1024]).unwrap();
        assert_eq!(open(None, "id", 0, large), Err(Corrupt::Malformed));
    }
}
