//! An entry and its bytes in Redis: a versioned header and then the value as it came.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | format, 1; 2 where the value is encrypted |
//! | 1 | flags: 1 where the value is encrypted |
//! | 2–9 | version, big endian as all numbers here |
//! | 10–17 | time of creation, µs since 1970 |
//! | 18–25 | time of the last write, µs |
//! | 26–33 | expiry, ms since 1970; 0: never |
//! | 34–37 | length of the meta |
//! | 38… | meta: content type, then tags sorted by name; each text as its length in two bytes and its UTF-8 |
//! | then | the value; encrypted: the key's id (8 bytes), nonce (12), what was encrypted, tag (16) |
//!
//! An encrypted value is bound to its key and the meta (`keyring.rs`); keys, tags and times are not encrypted.
//!
//! The script `write.lua` writes the first 38 bytes, this module the meta.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    keyring::{ID, Keyring, Place},
    store::Written,
};

/// Content type of a JSON value.
pub const JSON: &str = "application/json";
const HEX: &[u8; 16] = b"0123456789abcdef";
const FORMAT: u8 = 1;
const SEALED_FORMAT: u8 = 2;
pub(crate) const HEADER: usize = 38;
/// Flag of an entry whose value is encrypted.
pub(crate) const SEALED: u8 = 1;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub metadata: Metadata,
    /// The bytes that were written, untouched.
    pub value: Bytes,
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// 1 for a new key, raised by each write.
    pub version: u64,
    /// Microseconds since 1970-01-01T00:00:00Z, of Redis' clock.
    pub created: u64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub updated: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z; none: never expires.
    pub expires: Option<u64>,
    /// Media type; [`JSON`] for JSON values.
    pub content_type: String,
    pub tags: BTreeMap<String, String>,
}

/// Which state of an entry: its version and the time of that write, so that a key which was deleted and made anew
/// never has a tag that it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag {
    pub version: u64,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub updated: u64,
}

/// Bytes in Redis that are not an entry of a known format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    #[error(
        "an entry has format {0}, this version reads formats up to {SEALED_FORMAT}: upgrade all gateways and workers"
    )]
    UnknownFormat(u8),
    #[error("an entry is cut short or was not written by Keystead: delete the key")]
    Malformed,
    #[error(
        "a value is encrypted with a key that is not known here: put the key back into the tenant's Secret"
    )]
    UnknownKey,
    #[error("an encrypted value was changed in Redis, or is not at its place: delete the key")]
    NotAuthentic,
}

impl Metadata {
    /// What is known of an entry that was just written.
    pub fn of(content_type: String, tags: BTreeMap<String, String>, written: &Written) -> Self {
        Self {
            version: written.version,
            created: written.created,
            updated: written.updated,
            expires: written.expires,
            content_type,
            tags,
        }
    }

    pub fn entity_tag(&self) -> EntityTag {
        EntityTag { version: self.version, updated: self.updated }
    }
}

impl EntityTag {
    /// The tag without its quotes: `<version>-<µs in hex>`.
    fn opaque(self) -> String {
        self.quoted().trim_matches('"').to_owned()
    }

    /// The tag as the header `ETag` has it. In the path of every read: written without `format!`.
    pub fn quoted(self) -> String {
        let mut text = String::with_capacity(40);
        text.push('"');
        text.push_str(itoa::Buffer::new().format(self.version));
        text.push('-');
        let mut digits = [0; 16];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.updated.to_be_bytes()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 0xf)];
        }
        let leading = self.updated.leading_zeros() as usize / 4;
        // Digits are ASCII; of zero the last one stays.
        text.push_str(str::from_utf8(&digits[leading.min(15)..]).unwrap_or_default());
        text.push('"');
        text
    }

    /// The tag of this text; none where it is of another maker (and so matches nothing).
    pub fn parse(opaque: &str) -> Option<Self> {
        let (version, updated) = opaque.split_once('-')?;
        let tag = Self { version: version.parse().ok()?, updated: u64::from_str_radix(updated, 16).ok()? };
        // `+1-0A` reads as numbers too, but is not what we wrote.
        (tag.opaque() == opaque).then_some(tag)
    }
}

impl Entry {
    /// Reads the entry of this key, and decrypts it where it is encrypted.
    pub(crate) fn decode(key: &str, bytes: &Bytes, ring: Option<&Keyring>) -> Result<Self, Corrupt> {
        let (metadata, value_at) = decode_head(bytes)?;
        let sealed = bytes.slice(value_at..);
        let value = match (is_sealed(bytes), ring) {
            (false, _) => sealed,
            (true, None) => return Err(Corrupt::UnknownKey),
            (true, Some(ring)) => {
                let meta = bytes.get(HEADER..value_at).unwrap_or_default();
                ring.open(Place::Entry { key, meta }, &sealed)?.into()
            }
        };
        Ok(Self { metadata, value })
    }
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes.get(1) == Some(&SEALED)
}

/// The id of the key that the value is encrypted with; none where it is not. Needs the 8 bytes behind the meta.
pub(crate) fn sealed_with(bytes: &[u8]) -> Result<Option<[u8; ID]>, Corrupt> {
    let (_, value_at) = decode_head(bytes)?;
    let id = bytes.get(value_at..).and_then(|value| value.first_chunk::<ID>());
    is_sealed(bytes).then(|| id.copied().ok_or(Corrupt::Malformed)).transpose()
}

/// Reads the header and the meta, which may be all that there is; gives where the value begins.
pub(crate) fn decode_head(bytes: &[u8]) -> Result<(Metadata, usize), Corrupt> {
    let number = |at: usize| -> Result<u64, Corrupt> {
        let field = bytes.get(at..at + 8).and_then(|field| field.try_into().ok());
        Ok(u64::from_be_bytes(field.ok_or(Corrupt::Malformed)?))
    };
    match bytes {
        [FORMAT, 0, ..] | [SEALED_FORMAT, SEALED, ..] => {}
        [FORMAT | SEALED_FORMAT, ..] | [] => return Err(Corrupt::Malformed),
        [other, ..] => return Err(Corrupt::UnknownFormat(*other)),
    }
    let expires = number(26)?;
    let meta_length: [u8; 4] =
        bytes.get(34..HEADER).and_then(|field| field.try_into().ok()).ok_or(Corrupt::Malformed)?;
    let value_at = HEADER + u32::from_be_bytes(meta_length) as usize;
    let (content_type, tags) = decode_meta(bytes.get(HEADER..value_at).ok_or(Corrupt::Malformed)?)?;
    let metadata = Metadata {
        version: number(2)?,
        created: number(10)?,
        updated: number(18)?,
        expires: (expires > 0).then_some(expires),
        content_type,
        tags,
    };
    Ok((metadata, value_at))
}

pub(crate) fn encode_meta(content_type: &str, tags: &BTreeMap<String, String>) -> Vec<u8> {
    let mut meta = Vec::with_capacity(2 + content_type.len());
    let mut push = |text: &str| {
        // Content types and tags are bounded far below 64 KiB by `limits`; what is longer is cut.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        meta.extend_from_slice(&length.to_be_bytes());
        meta.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
    };
    // The commonest type takes no room.
    push(if content_type == JSON { "" } else { content_type });
    for (name, value) in tags {
        push(name);
        push(value);
    }
    meta
}

fn decode_meta(mut meta: &[u8]) -> Result<(String, BTreeMap<String, String>), Corrupt> {
    let mut next = || -> Result<Option<String>, Corrupt> {
        if meta.is_empty() {
            return Ok(None);
        }
        let (length, rest) = meta.split_first_chunk::<2>().ok_or(Corrupt::Malformed)?;
        let (text, rest) =
            rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(Corrupt::Malformed)?;
        meta = rest;
        String::from_utf8(text.to_vec()).map(Some).map_err(|_| Corrupt::Malformed)
    };
    let content_type = match next()?.ok_or(Corrupt::Malformed)? {
        empty if empty.is_empty() => JSON.to_owned(),
        other => other,
    };
    let mut tags = BTreeMap::new();
    while let Some(name) = next()? {
        tags.insert(name, next()?.ok_or(Corrupt::Malformed)?);
    }
    Ok((content_type, tags))
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn encoded(expires: u64, meta: &[u8], value: &[u8]) -> Bytes {
        let mut bytes = vec![FORMAT, 0];
        for number in [3_u64, 10, 20, expires] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&u32::try_from(meta.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(meta);
        bytes.extend_from_slice(value);
        bytes.into()
    }

    fn decode(bytes: &Bytes) -> Result<Entry, Corrupt> {
        Entry::decode("a", bytes, None)
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            content_type in "[a-z]{1,20}/[a-z]{1,20}",
            tags in collection::btree_map("\\PC{1,20}", "\\PC{0,20}", 0..8),
            value in collection::vec(any::<u8>(), 0..200),
        ) {
            let entry = decode(&encoded(7, &encode_meta(&content_type, &tags), &value)).unwrap();
            prop_assert_eq!(entry.value, value);
            prop_assert_eq!(entry.metadata.content_type, content_type);
            prop_assert_eq!(entry.metadata.tags, tags);
            prop_assert_eq!(entry.metadata.expires, Some(7));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes.clone().into());
            let mut begun = encoded(0, &encode_meta(JSON, &BTreeMap::new()), b"").to_vec();
            begun.truncate(34);
            begun.extend(bytes);
            let _ = decode(&begun.into());
        }
    }

    #[test]
    fn a_newer_format_is_told_from_rubbish() {
        assert_eq!(decode(&Bytes::from_static(&[3; 60])), Err(Corrupt::UnknownFormat(3)));
        assert_eq!(decode(&Bytes::from_static(&[1; 60])), Err(Corrupt::Malformed));
    }

    #[test]
    fn an_entity_tag_of_another_maker_is_none() {
        let tag = EntityTag { version: 3, updated: 0xabc };
        assert_eq!(EntityTag::parse(&tag.opaque()), Some(tag));
        assert_eq!(tag.quoted(), "\"3-abc\"");
        assert_eq!(EntityTag { version: 1, updated: 0 }.quoted(), "\"1-0\"");
        assert_eq!(
            EntityTag { version: u64::MAX, updated: u64::MAX }.quoted(),
            "\"18446744073709551615-ffffffffffffffff\""
        );
        for other in ["", "3", "+3-abc", "3-ABC", "3-abc-", "x-abc"] {
            assert_eq!(EntityTag::parse(other), None, "{other}");
        }
    }
}
