//! Entries as JSON, around the text of the value itself: numbers and blanks stay as they were written.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    clock::now_ms,
    entry::{Entry, JSON, Metadata},
    rfc3339::push_time,
};

/// Whether a content type is JSON's.
pub fn is_json(content_type: &str) -> bool {
    if content_type == JSON {
        return true;
    }
    let essence = content_type.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case(JSON)
}

/// Seconds left, rounded up; none: never expires.
pub fn seconds_left(metadata: &Metadata) -> Option<u64> {
    metadata.expires.map(|expires| expires.saturating_sub(now_ms()).div_ceil(1000))
}

/// An entry as a JSON object, around the value's own text.
pub fn entry_json(key: &str, entry: &Entry) -> String {
    let mut json = String::with_capacity(entry.value.len() + key.len() + 256);
    json.push('{');
    push_entry(&mut json, key, entry);
    json.push('}');
    json
}

/// The members of an entry's object, without its braces.
pub fn push_entry(json: &mut String, key: &str, entry: &Entry) {
    json.push_str("\"key\":");
    push_string(json, key);
    json.push_str(",\"value\":");
    json.push_str(&json_value(entry));
    json.push_str(",\"metadata\":");
    push_metadata(json, &entry.metadata);
}

/// Adds an entry as a line of NDJSON that tells all of it, so that a reader can make the same entry of it: with
/// `content_type` where that is not JSON's. What has expired is left out; says whether it was added.
pub fn push_line(lines: &mut String, key: &str, entry: &Entry) -> bool {
    if entry.metadata.expires.is_some_and(|expires| expires <= now_ms()) {
        return false;
    }
    let begin = lines.len();
    lines.push('{');
    push_entry(lines, key, entry);
    if entry.metadata.content_type != JSON {
        lines.push_str(",\"content_type\":");
        push_string(lines, &entry.metadata.content_type);
    }
    lines.push('}');
    end_line(lines, begin);
    true
}

/// Ends a line of NDJSON that begins there. JSON's strings have no line feed in them: one that is there stands between its
/// words, where a blank does as well.
pub fn end_line(lines: &mut String, begin: usize) {
    if memchr::memchr2(b'\n', b'\r', &lines.as_bytes()[begin..]).is_some() {
        let line = lines.split_off(begin).replace(['\n', '\r'], " ");
        lines.push_str(&line);
    }
    lines.push('\n');
}

/// The bytes of a value as [`push_line`] writes it; none where such a content type has no such value.
pub fn value_of(json: &RawValue, content_type: &str) -> Option<Vec<u8>> {
    if is_json(content_type) {
        return Some(json.get().as_bytes().to_vec());
    }
    if let Ok(text) = serde_json::from_str::<String>(json.get()) {
        return Some(text.into_bytes());
    }
    let bytes: Base64 = serde_json::from_str(json.get()).ok()?;
    BASE64_STANDARD.decode(bytes.base64).ok()
}

/// Bytes that are no text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64 {
    #[serde(rename = "$base64")]
    base64: String,
}

/// The members of an entry's object without the value.
pub fn push_item(json: &mut String, key: &str, metadata: &Metadata) {
    json.push_str("\"key\":");
    push_string(json, key);
    json.push_str(",\"metadata\":");
    push_metadata(json, metadata);
}

/// JSON as it was written; other text as a string; other bytes as base64.
fn json_value(entry: &Entry) -> Cow<'_, str> {
    match simdutf8::basic::from_utf8(&entry.value) {
        Ok(text) if is_json(&entry.metadata.content_type) => Cow::Borrowed(text),
        Ok(text) => {
            let mut json = String::with_capacity(text.len() + 2);
            push_string(&mut json, text);
            Cow::Owned(json)
        }
        Err(_) => Cow::Owned(format!("{{\"$base64\":\"{}\"}}", BASE64_STANDARD.encode(&entry.value))),
    }
}

fn push_metadata(json: &mut String, metadata: &Metadata) {
    // In the path of every read: written without `format!`.
    let mut number = itoa::Buffer::new();
    json.push_str("{\"version\":");
    json.push_str(number.format(metadata.version));
    json.push_str(",\"ttl\":");
    match seconds_left(metadata) {
        Some(seconds) => json.push_str(number.format(seconds)),
        None => json.push_str("null"),
    }
    json.push_str(",\"tags\":{");
    for (index, (name, value)) in metadata.tags.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push_string(json, name);
        json.push(':');
        push_string(json, value);
    }
    json.push_str("},\"created_at\":\"");
    push_time(json, metadata.created);
    json.push_str("\",\"updated_at\":\"");
    push_time(json, metadata.updated);
    json.push_str("\"}");
}

/// A JSON string; writing one cannot fail.
pub fn push_string(json: &mut String, text: &str) {
    // Most keys and tags need no escape.
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        json.push('"');
        json.push_str(text);
        json.push('"');
        return;
    }
    json.push_str(&serde_json::to_string(text).unwrap_or_default());
}
