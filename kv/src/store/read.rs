//! Reads of one entry, from what is kept in this process where the tenant wants that.

use std::sync::Arc;

use redis::Cmd;

use super::Store;
use crate::{
    clock::now_ms,
    entry::Entry,
    error::Error,
    tracked::{Found, Weigh},
};

/// An entry, and where it was found.
#[derive(Clone, Debug)]
pub struct Read {
    pub entry: Option<Arc<Entry>>,
    /// Whether it was kept here; none: this tenant's entries are not kept.
    pub was_cached: Option<bool>,
}

impl Weigh for Entry {
    fn weight(&self) -> usize {
        let tags = self.metadata.tags.iter().map(|(name, value)| name.len() + value.len() + 64);
        128 + self.value.len() + self.metadata.content_type.len() + tags.sum::<usize>()
    }
}

impl Store {
    /// Reads an entry. With a cache, another process' write is seen as soon as Redis has told of it; one of this process
    /// at once.
    pub async fn read(&self, key: &str) -> Result<Read, Error> {
        if self.is_near {
            let bytes: Option<Vec<u8>> = self.connection.read_near(&get(&self.entry(key))).await?;
            let entry = bytes.map(|bytes| self.decode(key, bytes)).transpose()?.map(Arc::new);
            return Ok(Read { entry, was_cached: None });
        }
        let Some(cache) = &self.connection.caches().entries else { return self.read_primary(key).await };
        let name = self.entry(key);
        let place = match cache.find(name.as_bytes()) {
            Found::Known(entry) if is_live(&entry) => {
                return Ok(Read { entry: Some(entry), was_cached: Some(true) });
            }
            Found::Known(_) => {
                cache.forget(name.as_bytes());
                None
            }
            Found::Reserved(place) => Some(place),
        };
        let (bytes, is_tracked): (Option<Vec<u8>>, bool) = self.connection.read_tracked(&get(&name)).await?;
        let entry = bytes.map(|bytes| self.decode(key, bytes)).transpose()?.map(Arc::new);
        if let (Some(entry), Some(place), true) = (&entry, place, is_tracked) {
            place.fill(entry.clone());
            self.connection.watch_caches();
        }
        Ok(Read { entry, was_cached: Some(false) })
    }

    /// Reads an entry from the primary, whatever is kept here. Where writes are confirmed by other members, so is what is read:
    /// it will not be lost, and nothing newer was acknowledged before.
    pub async fn read_primary(&self, key: &str) -> Result<Read, Error> {
        let bytes: Option<Vec<u8>> = self.connection.read_surely(&get(&self.entry(key))).await?;
        let entry = bytes.map(|bytes| self.decode(key, bytes)).transpose()?.map(Arc::new);
        // What is kept may be older, and is not to be given after this.
        self.changed(key);
        Ok(Read { entry, was_cached: None })
    }

    /// A write of ours has come back: what is kept of the key is old, whatever came of it.
    pub(super) fn changed(&self, key: &str) {
        if let Some(cache) = &self.connection.caches().entries {
            cache.forget(self.entry(key).as_bytes());
        }
    }
}

/// With room for all of it: to grow was a good part of what a read costs here.
fn get(name: &str) -> Cmd {
    let mut command = Cmd::with_capacity(2, "GET".len() + name.len());
    command.arg("GET").arg(name);
    command
}

/// By this machine's clock; Redis tells of the expiry by its own.
fn is_live(entry: &Entry) -> bool {
    entry.metadata.expires.is_none_or(|expires| now_ms() < expires)
}
