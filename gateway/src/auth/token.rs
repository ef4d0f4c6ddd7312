//! Access tokens: JWTs signed with a key of the tenant's own, and a cache of those that were verified.
//!
//! The `kid` is `<tenant>.<key>`: it names the key, and with it the one algorithm that the token may have.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::{
    problem::{Code, Problem},
    tenants::{Keys, Table, Tenant},
};

const ISSUER: &str = "keystead";
/// Longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;
/// How many verified tokens are remembered; about 700 bytes each.
const CACHED_TOKENS: usize = 50_000;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    KvRead,
    KvWrite,
    JobsRead,
    JobsWrite,
}

impl Scope {
    /// What a registered user may do.
    pub(crate) const ALL: [Self; 4] = [Self::KvRead, Self::KvWrite, Self::JobsRead, Self::JobsWrite];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::KvRead => "kv:read",
            Self::KvWrite => "kv:write",
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
        }
    }
}

/// The claims of an access token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    /// The user's name.
    pub(crate) sub: String,
    pub(crate) tenant: String,
    /// Words separated by blanks (RFC 8693, section 4.2).
    pub(crate) scope: String,
    /// Seconds since 1970.
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    pub(crate) jti: String,
}

impl Claims {
    pub(crate) fn allows(&self, scope: Scope) -> bool {
        self.scope.split(' ').any(|word| word == scope.word())
    }
}

/// Signs a token for a user.
pub(crate) fn mint(tenant: &Tenant, username: &str, scopes: &[String]) -> Result<String, Problem> {
    let now = now();
    let claims = Claims {
        iss: ISSUER.into(),
        sub: username.into(),
        tenant: tenant.name().to_string(),
        scope: scopes.join(" "),
        iat: now,
        exp: now + tenant.route().auth.access_token_ttl_seconds,
        jti: uuid::Uuid::now_v7().simple().to_string(),
    };
    let keys = &tenant.keys;
    let mut header = Header::new(keys.signing_algorithm);
    header.kid = Some(format!("{}.{}", tenant.name(), keys.signing_id));
    jsonwebtoken::encode(&header, &claims, &keys.signing).map_err(|error| {
        tracing::error!(tenant = %tenant.name(), %error, "a token cannot be signed");
        Problem::new(Code::Internal, "a token could not be signed")
    })
}

/// A token that was verified, and with which keys.
struct Verified {
    tenant: Arc<str>,
    keys: Arc<Keys>,
    claims: Arc<Claims>,
}

/// Tokens that were verified. Only successes are kept; expiry is checked at every hit, and a token whose tenant has other
/// keys now is verified anew.
///
/// They are found by a hash with a secret of this process, so that nobody can aim at a place, and then compared as a whole:
/// how long that takes tells nothing, since a wrong token is compared with none. SHA-256 in its place was 29 % of all that
/// the gateway did for a read.
pub(crate) struct TokenCache(Cache<Box<str>, Arc<Verified>>);

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("TokenCache").field(&self.0.len()).finish()
    }
}

impl TokenCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CACHED_TOKENS))
    }

    /// The tenant and the claims of a token.
    pub(crate) fn verify(&self, table: &Table, token: &str) -> Result<(Arc<Tenant>, Arc<Claims>), Problem> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid());
        }
        if let Some(known) = self.0.get(token) {
            let tenant = table.get(&known.tenant).ok_or_else(invalid)?;
            if Arc::ptr_eq(&tenant.keys, &known.keys) {
                return if known.claims.exp > now() {
                    Ok((tenant, known.claims.clone()))
                } else {
                    Err(invalid())
                };
            }
        }
        let (tenant, claims) = verify(table, token).ok_or_else(invalid)?;
        let claims = Arc::new(claims);
        let verified = Verified {
            tenant: tenant.name().as_str().into(),
            keys: tenant.keys.clone(),
            claims: claims.clone(),
        };
        self.0.insert(token.into(), Arc::new(verified));
        Ok((tenant, claims))
    }
}

fn verify(table: &Table, token: &str) -> Option<(Arc<Tenant>, Claims)> {
    let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
    let (tenant, key) = kid.split_once('.')?;
    let tenant = table.get(tenant)?;
    let key = tenant.keys.verifying.iter().find(|known| known.id == key)?;
    let mut validation = Validation::new(key.algorithm);
    validation.leeway = 0;
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation).ok()?.claims;
    (claims.tenant == tenant.name().as_str()).then_some((tenant.clone(), claims))
}

/// One answer for every reason: what is wrong with a forged token is nobody's business.
fn invalid() -> Problem {
    Problem::new(
        Code::InvalidToken,
        "the token is expired, malformed or not signed by its tenant: log in again",
    )
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
