//! API keys: `ks_<tenant>_<id>_<secret>`. Of a secret only its SHA-256 is kept.

use std::{sync::Arc, time::Duration};

use keystead_route::{ApiKeyText, SecretText, TenantName, hex};
use redis::cmd;
use serde::{Deserialize, Serialize};

use crate::{
    clock::now_ms,
    connection::Connection,
    error::{Effect, Error},
    script,
    tracked::{Found, Weigh},
};

const KEYS: &str = "auth:{a}:keys";
/// API keys of a tenant, at most.
pub const MAX_API_KEYS: usize = 1000;
/// Secrets of one key that are valid at the same time, at most.
const MAX_SECRETS: usize = 4;

/// An API key, as it is kept in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: String,
    pub name: String,
    pub scopes: Vec<String>,
    /// What a key of the store must begin with, one of these; none: any key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Of each gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// The user or the API key that made it.
    pub created_by: String,
    /// Milliseconds since 1970; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    secrets: Vec<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Secret {
    sha256: String,
    /// Milliseconds since 1970; none: until the key is rotated or expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// What a new API key may do.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    pub name: String,
    pub scopes: Vec<String>,
    pub prefixes: Vec<String>,
    pub requests_per_second: Option<u32>,
    pub created_by: String,
    /// Milliseconds since 1970.
    pub expires_at: Option<u64>,
}

/// The tenant's API keys.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    connection: Connection,
}

impl Secret {
    fn is_live(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl ApiKey {
    /// Whether the secret is one of this key's, and neither it nor the key has expired.
    pub fn accepts(&self, presented: &ApiKeyText<'_>) -> bool {
        let now = now_ms();
        !self.has_expired()
            && self
                .secrets
                .iter()
                // All are compared, whichever it is.
                .fold(false, |found, known| {
                    let is_live = known.is_live(now);
                    (presented.has_hash(&known.sha256) && is_live) || found
                })
    }

    /// Whether it is the key that it was, not expired, with a secret of then that still counts.
    pub fn still_is(&self, before: &Self) -> bool {
        let now = now_ms();
        let is_kept = |old: &Secret| self.secrets.iter().any(|it| it.sha256 == old.sha256 && it.is_live(now));
        !self.has_expired() && before.secrets.iter().any(is_kept)
    }

    pub fn has_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= now_ms())
    }

    /// When the last secret but the newest ends, in milliseconds since 1970.
    pub fn old_secret_until(&self) -> Option<u64> {
        self.secrets.iter().filter_map(|secret| secret.until).max()
    }
}

impl Weigh for ApiKey {
    fn weight(&self) -> usize {
        let texts = self.scopes.iter().chain(&self.prefixes).map(|text| text.len() + 24);
        256 + self.name.len() + self.created_by.len() + texts.sum::<usize>() + 128 * self.secrets.len()
    }
}

impl ApiKeys {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Makes a key and gives it with all of its text, which nobody can learn later. None where there are too many.
    pub async fn create(
        &self,
        tenant: &TenantName,
        new: NewApiKey,
    ) -> Result<Option<(ApiKey, SecretText)>, Error> {
        let id = hex(&rand::random::<[u8; 8]>());
        let (text, sha256) = ApiKeyText::make(tenant, &id, rand::random());
        let key = ApiKey {
            id: id.clone(),
            name: new.name,
            scopes: new.scopes,
            prefixes: new.prefixes,
            requests_per_second: new.requests_per_second,
            created_at: now_ms(),
            created_by: new.created_by,
            expires_at: new.expires_at,
            secrets: vec![Secret { sha256, until: None }],
        };
        let document = encode(&key)?;
        let most = MAX_API_KEYS.to_string();
        let arguments: [&[u8]; 3] = [id.as_bytes(), &document, most.as_bytes()];
        let made: u8 = self
            .connection
            .eval(&script::API_KEY_CREATE, Effect::Write, &[KEYS.as_bytes()], &arguments)
            .await?;
        Ok((made == 1).then_some((key, text)))
    }

    /// A key, of which this process is told when it changes.
    pub async fn find(&self, id: &str) -> Result<Option<Arc<ApiKey>>, Error> {
        let place = match self.connection.caches().api_keys.find(id.as_bytes()) {
            Found::Known(key) => return Ok(Some(key)),
            Found::Reserved(place) => place,
        };
        let (document, is_tracked): (Option<Vec<u8>>, bool) =
            self.connection.read_tracked(cmd("HGET").arg(KEYS).arg(id)).await?;
        let Some(document) = document else { return Ok(None) };
        let key = Arc::new(decode(&document)?);
        if is_tracked {
            place.fill(key.clone());
            self.connection.watch_caches();
        }
        Ok(Some(key))
    }

    /// All keys, the oldest first.
    pub async fn list(&self) -> Result<Vec<ApiKey>, Error> {
        let documents: Vec<Vec<u8>> = self.connection.read(cmd("HVALS").arg(KEYS)).await?;
        let mut keys: Vec<ApiKey> =
            documents.iter().map(|document| decode(document)).collect::<Result<_, _>>()?;
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }

    /// Ends a key at once; false where there is none.
    pub async fn revoke(&self, id: &str) -> Result<bool, Error> {
        let mut delete = cmd("HDEL");
        delete.arg(KEYS).arg(id);
        let deleted: u64 = self.connection.run(&delete, Effect::Write).await?;
        self.connection.caches().api_keys.clear();
        Ok(deleted == 1)
    }

    /// Gives a key another secret; those that it has are valid for so much longer. None where there is no such key.
    pub async fn rotate(
        &self,
        tenant: &TenantName,
        id: &str,
        overlap: Duration,
    ) -> Result<Option<(ApiKey, SecretText)>, Error> {
        loop {
            let document: Option<Vec<u8>> = self.connection.read(cmd("HGET").arg(KEYS).arg(id)).await?;
            let Some(document) = document else { return Ok(None) };
            let mut key = decode(&document)?;
            let now = now_ms();
            let end = now.saturating_add(u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX));
            for secret in &mut key.secrets {
                secret.until = Some(secret.until.unwrap_or(u64::MAX).min(end));
            }
            key.secrets.retain(|secret| secret.until.is_some_and(|until| now < until));
            let surplus = (key.secrets.len() + 1).saturating_sub(MAX_SECRETS);
            key.secrets.drain(..surplus);
            let (text, sha256) = ApiKeyText::make(tenant, id, rand::random());
            key.secrets.push(Secret { sha256, until: None });
            let successor = encode(&key)?;
            let arguments: [&[u8]; 3] = [id.as_bytes(), &document, &successor];
            let replaced: u8 = self
                .connection
                .eval(&script::API_KEY_REPLACE, Effect::Write, &[KEYS.as_bytes()], &arguments)
                .await?;
            self.connection.caches().api_keys.clear();
            // Somebody else was faster: once more, from what they left.
            if replaced == 1 {
                return Ok(Some((key, text)));
            }
        }
    }
}

fn encode(key: &ApiKey) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(key).map_err(|_| crate::entry::Corrupt::Malformed.into())
}

fn decode(document: &[u8]) -> Result<ApiKey, Error> {
    serde_json::from_slice(document).map_err(|_| crate::entry::Corrupt::Malformed.into())
}
