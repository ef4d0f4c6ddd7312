//! What a key and its tags may be. Limits of size that a tenant can set are the caller's to give.

use std::collections::BTreeMap;

/// Most tags of one entry.
pub const MAX_TAGS: usize = 32;
/// Longest name or value of a tag, in bytes of UTF-8.
pub const MAX_TAG_BYTES: usize = 128;
/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 128;
/// Longest time to live, in seconds: ten years.
pub const MAX_TTL_SECONDS: u64 = 315_360_000;

/// Why a key, a tag or a time to live is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the key is empty: a key has 1 to {max} bytes")]
    EmptyKey { max: u32 },
    #[error("the key has {length} bytes: this tenant's keys have at most {max}")]
    KeyTooLong { length: usize, max: u32 },
    #[error("there are {0} tags: an entry has at most {MAX_TAGS}")]
    TooManyTags(usize),
    #[error(
        "a tag's name has 1 to {MAX_TAG_BYTES} bytes and its value at most {MAX_TAG_BYTES}, both without NUL"
    )]
    Tag,
    #[error("a name of a tag holds no ':': it separates name and value in a filter")]
    TagName,
    #[error("a content type has at most {MAX_CONTENT_TYPE_BYTES} bytes")]
    ContentType,
    #[error(
        "the time to live is {0} s: it is at most {MAX_TTL_SECONDS} s (ten years); 0 or null never expires"
    )]
    Ttl(u64),
}

/// Checks a key against the tenant's limit in bytes.
pub fn check_key(key: &str, max: u32) -> Result<(), Invalid> {
    match key.len() {
        0 => Err(Invalid::EmptyKey { max }),
        length if length > max as usize => Err(Invalid::KeyTooLong { length, max }),
        _ => Ok(()),
    }
}

pub fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Invalid> {
    if tags.len() > MAX_TAGS {
        return Err(Invalid::TooManyTags(tags.len()));
    }
    for (name, value) in tags {
        let fits = |text: &str| text.len() <= MAX_TAG_BYTES && !text.contains('\0');
        if name.is_empty() || !fits(name) || !fits(value) {
            return Err(Invalid::Tag);
        }
        if name.contains(':') {
            return Err(Invalid::TagName);
        }
    }
    Ok(())
}

pub fn check_ttl(seconds: u64) -> Result<(), Invalid> {
    if seconds > MAX_TTL_SECONDS { Err(Invalid::Ttl(seconds)) } else { Ok(()) }
}

pub fn check_content_type(content_type: &str) -> Result<(), Invalid> {
    if content_type.len() > MAX_CONTENT_TYPE_BYTES { Err(Invalid::ContentType) } else { Ok(()) }
}
