//! `kv.import`: writes the entries of NDJSON, of which each line is one as `kv.export` writes it.
//!
//! Lines are written in their order, some hundred at a time; what was there by these keys is replaced. An attempt begins
//! where the one before had written all, so that a few lines may be written twice.

use std::{borrow::Cow, collections::BTreeMap};

use keystead_kv::{
    Error, JSON, Operation, Put, Ttl,
    json::value_of,
    limits::{check_content_type, check_key, check_tags, check_ttl},
    queue::{Parts, Queue, kinds::Import},
};
use keystead_route::Limits;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{Context, Failure, Output};
use crate::attempt::{Attempt, percent};

/// Entries of one round trip, and about the bytes of their lines.
const STEP: usize = 500;
const STEP_BYTES: usize = 1024 * 1024;
/// Longest line, in bytes: a value of the largest size with each byte escaped.
const MAX_LINE: usize = 16 * 1024 * 1024;

#[derive(Default, Serialize, Deserialize)]
struct Position {
    /// Of all that the lines have.
    bytes: u64,
    lines: u64,
    imported: u64,
}

pub(super) async fn run(
    import: &Import,
    context: &Context,
    attempt: &Attempt<'_>,
) -> Result<Output, Failure> {
    let id = import.from.to_string();
    let parts = context.queue.parts(&id).await?;
    let parts =
        parts.ok_or_else(|| Failure::Permanent(format!("there is nothing to import by the id {id}")))?;
    let mut at: Position = attempt.checkpoint();
    let mut lines = Lines::begin(&context.queue, &id, parts, at.bytes).await?;
    loop {
        let (mut puts, mut numbers, mut bytes) = (Vec::new(), Vec::new(), 0);
        while puts.len() < STEP && bytes < STEP_BYTES {
            let Some(line) = lines.next().await? else { break };
            at.lines += 1;
            bytes += line.len() + 1;
            if !line.trim_ascii().is_empty() {
                let put = operation(line, &context.limits);
                puts.push(put.map_err(|why| Failure::Permanent(format!("line {}: {why}", at.lines)))?);
                numbers.push(at.lines);
            }
        }
        if bytes == 0 {
            break;
        }
        for (done, line) in context.store.batch(&puts).await?.into_iter().zip(numbers) {
            match done {
                Ok(_) => at.imported += 1,
                Err(error @ Error::TooManyKeys) => {
                    return Err(Failure::Permanent(format!("line {line}: {error}")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        at.bytes = lines.at;
        let done = percent(at.bytes, parts.bytes);
        attempt.report(done, &format!("{} entries", at.imported), &at).await?;
    }
    Ok(Output { result: json!({"entries": at.imported, "lines": at.lines}).to_string() })
}

/// The lines of what is kept in parts.
struct Lines<'a> {
    queue: &'a Queue,
    id: &'a str,
    parts: Parts,
    /// The part that is read next.
    next: u32,
    /// What was read and not yet given begins at `from`.
    buffer: Vec<u8>,
    from: usize,
    /// Bytes that were given, with those before the beginning.
    at: u64,
}

impl<'a> Lines<'a> {
    /// Begins behind so many bytes.
    async fn begin(queue: &'a Queue, id: &'a str, parts: Parts, at: u64) -> Result<Self, Failure> {
        let mut lines = Self { queue, id, parts, next: 0, buffer: Vec::new(), from: 0, at };
        let mut skip = usize::try_from(at).unwrap_or(usize::MAX);
        while lines.read().await? {
            if skip < lines.buffer.len() {
                lines.from = skip;
                break;
            }
            skip -= lines.buffer.len();
            lines.buffer.clear();
        }
        Ok(lines)
    }

    /// Reads another part; false at the end.
    async fn read(&mut self) -> Result<bool, Failure> {
        if self.next == self.parts.count {
            return Ok(false);
        }
        let part = self.queue.part(self.id, self.next).await?;
        let part =
            part.ok_or_else(|| Failure::Permanent("what is to be imported is not kept any more".into()))?;
        self.buffer.drain(..self.from);
        self.from = 0;
        self.buffer.extend_from_slice(&part);
        self.next += 1;
        Ok(true)
    }

    /// The next line, without its end.
    async fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        let mut looked_at = self.from;
        let end = loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[looked_at..]) {
                break looked_at + end;
            }
            looked_at = self.buffer.len() - self.from;
            if looked_at > MAX_LINE {
                return Err(Failure::Permanent(format!("a line has more than {MAX_LINE} bytes")));
            }
            if !self.read().await? {
                break self.buffer.len();
            }
        };
        let line = self.from..end;
        if line.is_empty() && end == self.buffer.len() {
            return Ok(None);
        }
        // The last line may be without an end.
        self.from = self.buffer.len().min(end + 1);
        self.at += (self.from - line.start) as u64;
        Ok(Some(&self.buffer[line]))
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    metadata: LineMetadata,
}

/// What is taken of it: versions and times are those of the import.
#[derive(Default, Deserialize)]
struct LineMetadata {
    /// Seconds; null or 0: never expires.
    #[serde(default)]
    ttl: Option<u64>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// What is to be done with a line, or why it cannot be.
fn operation(line: &[u8], limits: &Limits) -> Result<Operation, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let said = |error: keystead_kv::limits::Invalid| error.to_string();
    check_key(&line.key, limits.max_key_bytes).map_err(said)?;
    let content_type = line.content_type.unwrap_or_else(|| JSON.to_owned());
    check_content_type(&content_type).map_err(said)?;
    check_tags(&line.metadata.tags).map_err(said)?;
    let value = value_of(line.value, &content_type).ok_or_else(|| {
        format!("a value of the type {content_type:?} is a text, or {{\"$base64\": \"…\"}}")
    })?;
    if value.len() as u64 > limits.max_value_bytes {
        let (length, most) = (value.len(), limits.max_value_bytes);
        return Err(format!("the value has {length} bytes: this tenant's values have at most {most}"));
    }
    let ttl = match line.metadata.ttl.unwrap_or(0) {
        0 => Ttl::Forever,
        seconds => Ttl::Seconds(seconds),
    };
    check_ttl(line.metadata.ttl.unwrap_or(0)).map_err(said)?;
    let put = Put { value: value.into(), content_type, tags: line.metadata.tags, ttl };
    Ok(Operation::Put { key: line.key.into_owned(), put })
}
