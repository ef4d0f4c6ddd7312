//! Values that are written anew with the key of today, while others read and write.

use futures::{StreamExt as _, stream};
use redis::cmd;

use super::{Filter, Select, Store, list::Bounds};
use crate::{
    entry::{Corrupt, HEADER, SEALED, decode_head, sealed_with},
    error::{Effect, Error},
    keyring::{Keyring, Place},
    script::{self, Call},
};

/// The id of the key with which all values are known to be written.
const SEALED_WITH: &str = "kv:{0}:s";
/// For how many seconds it is.
const COUNTS_FOR: u64 = 24 * 3600;
/// Entries that are written anew at a time.
const AT_ONCE: usize = 16;

/// What a stretch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    pub seen: u64,
    /// Entries that were not as they ought to be. Some of them may have been written by others meanwhile.
    pub changed: u64,
    /// Entries that cannot be decrypted.
    pub unread: u64,
    /// The first of them, and why.
    pub unreadable: Option<(String, Corrupt)>,
    /// The last key of the stretch, where more follow.
    pub next_after: Option<String>,
}

impl Store {
    /// Whether all values are known to be written as the keyring wants it now.
    pub async fn is_resealed(&self) -> Result<bool, Error> {
        let known: Option<String> = self.connection.read(cmd("GET").arg(SEALED_WITH)).await?;
        // Where there never was a key nothing was ever noted.
        Ok(known.or_else(|| self.keyring.is_none().then(String::new)) == Some(self.target()))
    }

    /// All values were found to be as the keyring wants it; that counts for a day.
    pub async fn set_resealed(&self) -> Result<(), Error> {
        let mut set = cmd("SET");
        set.arg(SEALED_WITH).arg(self.target()).arg("EX").arg(COUNTS_FOR);
        self.connection.run(&set, Effect::Write).await
    }

    /// The id of the key that values are to be encrypted with. Empty: none, as where nothing was ever noted.
    pub fn target(&self) -> String {
        let target = self.keyring.as_ref().and_then(Keyring::target);
        target.map(|id| keystead_route::hex(&id)).unwrap_or_default()
    }

    /// Looks at up to `limit` keys behind this one, and writes those values anew that are not as the keyring wants it. Neither
    /// version nor times of an entry change; what somebody else writes meanwhile stays.
    pub async fn reseal(&self, after: &str, limit: u64) -> Result<Resealed, Error> {
        let target = self.keyring.as_ref().and_then(Keyring::target);
        // What is no entry is looked at as a whole below.
        let is_other = |_: &str, head: Vec<u8>| Ok(sealed_with(&head) != Ok(target));
        let select = Select::After(after);
        let bounds = Bounds { limit, max_bytes: u64::MAX, is_counted: false };
        let listing = self.stretches(Filter::default(), select, bounds, "head", is_other).await?;
        let seen = listing.items.len() as u64;
        let others = listing.items.into_iter().filter(|(_, is_other)| *is_other);
        let mut done = stream::iter(others)
            .map(|(key, _)| async move {
                let outcome = self.reseal_entry(&key).await;
                (key, outcome)
            })
            .buffer_unordered(AT_ONCE);
        let mut part = Resealed { seen, next_after: listing.next_after, ..Resealed::default() };
        while let Some((key, outcome)) = done.next().await {
            match outcome {
                Ok(()) => part.changed += 1,
                Err(Error::Corrupt(corrupt)) => {
                    part.unread += 1;
                    part.unreadable.get_or_insert((key, corrupt));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(part)
    }

    async fn reseal_entry(&self, key: &str) -> Result<(), Error> {
        let name = self.entry(key);
        let bytes: Option<Vec<u8>> = self.connection.read(cmd("GET").arg(&name)).await?;
        // It has expired or was deleted.
        let Some(bytes) = bytes else { return Ok(()) };
        let (metadata, value_at) = decode_head(&bytes)?;
        let meta = bytes.get(HEADER..value_at).unwrap_or_default().to_vec();
        let value = self.decode(key, bytes)?.value;
        let sealed = match &self.keyring {
            Some(keyring) => keyring.seal_with_target(Place::Entry { key, meta: &meta }, &value)?,
            None => None,
        };
        let (flags, value) = sealed.as_ref().map_or((0, &value[..]), |sealed| (SEALED, sealed));
        let mut call = Call::sized(&script::RESEAL, &[name.as_bytes()], value.len() + 128);
        call.arg(metadata.version).arg(metadata.updated).arg(flags).arg(value);
        let _done: u8 = self.connection.call_as(&call, Effect::Write).await?;
        Ok(())
    }
}
