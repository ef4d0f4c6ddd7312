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

use super::{Scopes, User};
use crate::{
    problem::{Code, Problem},
    tenants::{Keys, Table, Tenant},
};

const ISSUER: &str = "keystead";
/// Longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;
/// How many verified tokens are remembered; about 700 bytes each.
const CACHED_TOKENS: usize = 50_000;

/// The claims of an access token.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The user's name.
    sub: String,
    tenant: String,
    /// Words separated by blanks (RFC 8693, section 4.2).
    scope: String,
    /// Seconds since 1970.
    iat: u64,
    exp: u64,
    jti: String,
    /// The family of the refresh token that was issued with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
}

/// Whom a token is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session<'a> {
    pub(crate) username: &'a str,
    pub(crate) scopes: &'a [String],
    /// The family of the refresh token.
    pub(crate) family: Option<&'a str>,
}

/// Signs a token for a user.
pub(crate) fn mint(tenant: &Tenant, session: Session<'_>) -> Result<String, Problem> {
    let now = now();
    let claims = Claims {
        iss: ISSUER.into(),
        sub: session.username.into(),
        tenant: tenant.name().to_string(),
        scope: session.scopes.join(" "),
        iat: now,
        exp: now + tenant.route().auth.access_token_ttl_seconds,
        jti: uuid::Uuid::now_v7().simple().to_string(),
        sid: session.family.map(str::to_owned),
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
    user: Arc<User>,
}

/// Tokens that were verified. Only successes are kept; expiry is checked at every hit, and a token whose tenant has other
/// keys now is verified anew.
///
/// They are found by a hash with a secret of this process, so that nobody can aim at a place, and then compared as a whole:
/// how long that takes tells nothing, since a wrong token is compared with none. SHA-256 in its place was 29 % of all that
/// the gateway did for a read.
pub(crate) struct TokenCache(Cache<Box<[u8]>, Arc<Verified>>);

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("TokenCache").field(&self.0.len()).finish()
    }
}

impl TokenCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CACHED_TOKENS))
    }

    /// The tenant and the user of a token.
    pub(crate) fn verify(&self, table: &Table, token: &[u8]) -> Result<(Arc<Tenant>, Arc<User>), Problem> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid());
        }
        if let Some(known) = self.0.get(token) {
            let tenant = table.get(&known.tenant).ok_or_else(invalid)?;
            if Arc::ptr_eq(&tenant.keys, &known.keys) {
                return if known.user.has_expired() {
                    Err(invalid())
                } else {
                    Ok((tenant, known.user.clone()))
                };
            }
        }
        let text = str::from_utf8(token).map_err(|_| invalid())?;
        let (tenant, claims) = verify(table, text).ok_or_else(invalid)?;
        let scopes = Scopes::of(claims.scope.split(' '));
        let user = Arc::new(User { name: claims.sub, scopes, session: claims.sid, expires: claims.exp });
        let verified =
            Verified { tenant: tenant.name().as_str().into(), keys: tenant.keys.clone(), user: user.clone() };
        self.0.insert(token.into(), Arc::new(verified));
        Ok((tenant, user))
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
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
