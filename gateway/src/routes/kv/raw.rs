//! What belongs to an entry whose bytes go bare: `X-TTL` and `X-Tags`, the same in requests and in answers.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use keystead_kv::{Metadata, json::seconds_left, limits::MAX_TTL_SECONDS};

use crate::problem::{Code, Problem};

/// Longest header of tags, in bytes: proxies refuse answers whose head does not fit into their buffer, often 4 KiB.
const MOST_BYTES: usize = 2048;
const TTL: HeaderName = HeaderName::from_static("x-ttl");
const TAGS: HeaderName = HeaderName::from_static("x-tags");

/// Absent: the tenant's default; 0: never expires.
pub(super) fn ttl(headers: &HeaderMap) -> Result<Option<Option<u64>>, Problem> {
    let Some(value) = headers.get(TTL) else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.parse().ok());
    seconds
        .map(|seconds| Some(Some(seconds)))
        .ok_or_else(|| Problem::new(Code::Invalid, "X-TTL: a whole number of seconds; 0 never expires"))
}

/// `X-Tags: name=value, other=value`
pub(super) fn tags(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let Some(value) = headers.get(TAGS) else { return Ok(BTreeMap::new()) };
    let wrong = || Problem::new(Code::Invalid, "X-Tags: pairs such as `colour=red, size=big`");
    let pairs = value.to_str().map_err(|_| wrong())?.split(',');
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Tells of an entry what a write of its bytes takes, so that what was read can be written back as it was. Nothing is told of
/// no tags.
pub(super) fn tell(headers: &mut HeaderMap, metadata: &Metadata) {
    // 0 is for ever: by this clock an entry that is still there may have ended just now, or live longer than any may.
    let seconds = seconds_left(metadata).map_or(0, |seconds| seconds.clamp(1, MAX_TTL_SECONDS));
    headers.insert(TTL, HeaderValue::from(seconds));
    if let Some(text) = text_of(&metadata.tags) {
        headers.insert(TAGS, text);
    }
}

/// The tags as [`tags`] reads them; none where there are none, or where one of them cannot be written so: who writes back what
/// was read must not take some of the tags for all, or make others of them.
fn text_of(tags: &BTreeMap<String, String>) -> Option<HeaderValue> {
    let is_plain = |text: &str| {
        text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b',') && text.trim() == text
    };
    let may_be_told =
        |(name, value): (&String, &String)| is_plain(name) && !name.contains('=') && is_plain(value);
    if tags.is_empty() || !tags.iter().all(may_be_told) {
        return None;
    }
    let pairs: Vec<String> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let text = pairs.join(", ");
    if text.len() > MOST_BYTES {
        return None;
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_told_as_they_are_read_and_all_or_none_of_them() {
        let text = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let tags: BTreeMap<String, String> = owned.collect();
            let text = text_of(&tags)?;
            let headers = HeaderMap::from_iter([(TAGS, text.clone())]);
            assert_eq!(super::tags(&headers).unwrap(), tags, "they come back");
            Some(text.to_str().unwrap().to_owned())
        };
        assert_eq!(
            text(&[("size", "big = 7"), ("colour", "red"), ("none", "")]).as_deref(),
            Some("colour=red, none=, size=big = 7")
        );
        assert_eq!(text(&[]), None);
        for (name, value) in
            [("a", "1,b=2"), ("a=b", "1"), ("a,b", "1"), ("a", " 1"), ("a ", "1"), ("a", "é"), ("a", "1\n2")]
        {
            assert_eq!(text(&[("colour", "red"), (name, value)]), None, "{name:?} {value:?}");
        }
    }
}
