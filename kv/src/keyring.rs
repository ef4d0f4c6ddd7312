//! Values encrypted at rest, for tenants that ask for it: AES-256-GCM-SIV (RFC 8452) with a key of the tenant's own.
//!
//! It keeps its strength where a nonce should come twice, so that random nonces do for as many writes as a key will see.
//! What is sealed is bound to its place: moved to another key of Redis, or given other tags, it does not open. An older
//! value that is put back in its own place does: nothing here tells it from the newest.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use keystead_route::Encryption;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, MutexGuard};

use crate::{entry::Corrupt, error::Error};

/// Bytes of a key's id.
pub(crate) const ID: usize = 8;
const TURNS: usize = 64;
/// What a sealed record begins with; one that is not sealed is JSON or a job's own bytes.
const RECORD: &[u8] = b"\0ks\x01";

/// The keys of a tenant's values: all of them open, one seals. Cloning is cheap.
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<[DataKey]>,
    /// Place of the key that seals; none: what is written is not sealed.
    sealing: Option<usize>,
    /// What seals until then, because others do not know the new key yet.
    before: Option<(Option<usize>, Instant)>,
    /// Of those who read a value and write it anew, one at a time for a key: which of these is its hash.
    turns: Arc<[Mutex<()>; TURNS]>,
}

struct DataKey {
    /// Of the key itself, so that two keys of one name are told apart.
    id: [u8; ID],
    key: LessSafeKey,
}

/// Why there is no keyring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("the encryption key {0:?} is not 32 bytes in base64")]
    Malformed(String),
    #[error("there is no encryption key {0:?} to write with")]
    Missing(String),
}

/// Where something sealed belongs: it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Entry {
        key: &'a str,
        meta: &'a [u8],
    },
    Request(&'a str),
    /// Of what a job leaves or takes: the id that it is kept under, and the part's number.
    Part(&'a str, u32),
}

impl fmt::Debug for Keyring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keyring").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Keyring {
    pub fn new(encryption: &Encryption) -> Result<Self, InvalidKey> {
        let keys: Arc<[DataKey]> = encryption
            .keys
            .iter()
            .map(|named| {
                DataKey::parse(named.secret.expose()).ok_or_else(|| InvalidKey::Malformed(named.name.clone()))
            })
            .collect::<Result<_, _>>()?;
        let place = |name: &String| {
            let place = encryption.keys.iter().position(|named| named.name == *name);
            place.ok_or_else(|| InvalidKey::Missing(name.clone()))
        };
        let sealing = encryption.active_key.as_ref().map(place).transpose()?;
        Ok(Self { keys, sealing, before: None, turns: Arc::new([const { Mutex::const_new(()) }; TURNS]) })
    }

    /// Goes on for `delay` as the one before it did (none: without sealing), so that every process knows the new key before
    /// any writes with it.
    #[must_use]
    pub fn succeeding(self, before: Option<&Self>, delay: Duration) -> Self {
        let old = before.and_then(|old| Some(old.keys[old.sealing()?].id));
        let known = old.map(|old| self.keys.iter().position(|key| key.id == old));
        if old == self.target() || known == Some(None) {
            return self;
        }
        Self { before: Some((known.flatten(), Instant::now() + delay)), ..self }
    }

    /// The id of the key that seals in the end; none: nothing is sealed.
    pub(crate) fn target(&self) -> Option<[u8; ID]> {
        self.sealing.map(|place| self.keys[place].id)
    }

    fn sealing(&self) -> Option<usize> {
        match self.before {
            Some((before, until)) if Instant::now() < until => before,
            _ => self.sealing,
        }
    }

    /// Key id, nonce, what was sealed, and its tag; none where nothing is to be sealed.
    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.sealing().map(|key| self.keys[key].seal(b"", place, plain)).transpose()
    }

    /// As [`Self::seal`], with the key that seals in the end.
    pub(crate) fn seal_with_target(&self, place: Place<'_>, plain: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.sealing.map(|key| self.keys[key].seal(b"", place, plain)).transpose()
    }

    /// Waits for one's turn to read a key and write it.
    pub(crate) async fn turn(&self, key: &str) -> MutexGuard<'_, ()> {
        let place = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.turns[place % TURNS].lock().await
    }

    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, Corrupt> {
        let (id, rest) = sealed.split_first_chunk::<ID>().ok_or(Corrupt::Malformed)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Corrupt::Malformed)?;
        let key = self.keys.iter().find(|key| key.id == *id).ok_or(Corrupt::UnknownKey)?;
        let mut bytes = rest.to_vec();
        let length = key
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place.bytes()), &mut bytes)
            .map_err(|_| Corrupt::NotAuthentic)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Seals a record where something seals, and marks it.
    pub(crate) fn seal_record(
        ring: Option<&Self>,
        place: Place<'_>,
        plain: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        match ring.and_then(|ring| Some(&ring.keys[ring.sealing()?])) {
            Some(key) => key.seal(RECORD, place, &plain),
            None => Ok(plain),
        }
    }

    /// Opens a record that was sealed, and leaves any other as it is.
    pub(crate) fn open_record(
        ring: Option<&Self>,
        place: Place<'_>,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, Corrupt> {
        match (bytes.strip_prefix(RECORD), ring) {
            (None, _) => Ok(bytes),
            (Some(_), None) => Err(Corrupt::UnknownKey),
            (Some(sealed), Some(ring)) => ring.open(place, sealed),
        }
    }
}

impl DataKey {
    fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = BASE64_STANDARD.decode(text.trim()).ok()?.try_into().ok()?;
        let digest = Sha256::digest([&b"keystead encryption key id\0"[..], &bytes].concat());
        let id = digest.first_chunk::<ID>().copied()?;
        Some(Self { id, key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &bytes).ok()?) })
    }

    fn seal(&self, mark: &[u8], place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Refused("a value cannot be encrypted".into());
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(failed)?;
        let head = [mark, &self.id, &nonce].concat();
        let mut sealed = Vec::with_capacity(head.len() + plain.len() + AES_256_GCM_SIV.tag_len());
        sealed.extend_from_slice(&head);
        sealed.extend_from_slice(plain);
        let body = sealed.get_mut(head.len()..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(place.bytes()), body).map_err(failed)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }
}

impl Place<'_> {
    /// No two places have the same bytes.
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Entry { key, meta } => {
                [b"entry\0", &(key.len() as u64).to_be_bytes()[..], key.as_bytes(), meta].concat()
            }
            Self::Request(id) => [b"request\0", id.as_bytes()].concat(),
            Self::Part(id, number) => [b"part\0", &number.to_be_bytes()[..], id.as_bytes()].concat(),
        }
    }
}
