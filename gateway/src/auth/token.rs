//! Access tokens: JWTs signed with a key of the tenant's own, and a cache of those that were verified.
//!
//! The `kid` is `<tenant>.<key>`: it names the key, and with it the one algorithm that the token may have. A token with
//! another is one of another issuer.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use super::{
    External, Principal, Scopes, User,
    external::{self, Proof},
};
use crate::{
    problem::{Code, Problem},
    tenants::{Keys, Table, Tenant, VerifyingKey},
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

/// A token that was verified, for which tenant and with which keys.
enum Verified {
    Own { tenant: Arc<str>, keys: Arc<Keys>, user: Arc<User> },
    External { tenant: Arc<str>, proof: Proof, user: Arc<External> },
}

/// Whose token it is.
type Found = (Arc<Tenant>, Principal);

/// Tokens that were verified. Only successes are kept; expiry is checked at every hit, and a token whose tenant or issuer
/// has other keys now is verified anew.
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

    /// The tenant and the user of a token, for a request whose path may name a tenant.
    pub(crate) async fn verify(
        &self,
        table: &Table,
        token: &[u8],
        named: Option<&str>,
    ) -> Result<Found, Problem> {
        match self.find(table, token, named)? {
            Some(found) => Ok(found),
            // On the heap: what is rarely needed must not make every request's future larger.
            None => Box::pin(self.verify_anew(table, token, named)).await,
        }
    }

    /// None where it has to be verified.
    fn find(&self, table: &Table, token: &[u8], named: Option<&str>) -> Result<Option<Found>, Problem> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid());
        }
        let Some(known) = self.0.get(token) else { return Ok(None) };
        match &*known {
            Verified::Own { tenant, keys, user } => {
                let tenant = table.get(tenant).ok_or_else(invalid)?;
                if !Arc::ptr_eq(&tenant.keys, keys) {
                    return Ok(None);
                }
                if user.has_expired() {
                    return Err(invalid());
                }
                Ok(Some((tenant, Principal::User(user.clone()))))
            }
            Verified::External { tenant, proof, user } => {
                let is_for_this = named == Some(&**tenant) && !user.has_expired();
                let tenant = is_for_this.then(|| table.get(tenant)).flatten();
                let tenant = tenant.filter(|tenant| proof.holds(tenant));
                Ok(tenant.map(|tenant| (tenant, Principal::External(user.clone()))))
            }
        }
    }

    async fn verify_anew(&self, table: &Table, token: &[u8], named: Option<&str>) -> Result<Found, Problem> {
        let text = str::from_utf8(token).map_err(|_| invalid())?;
        let header = jsonwebtoken::decode_header(text).map_err(|_| invalid())?;
        let (found, verified) = if let Some((tenant, key)) = own_key(table, header.kid.as_deref()) {
            let claims = verify_own(&tenant, &tenant.keys.verifying[key], text).ok_or_else(invalid)?;
            let scopes = Scopes::of(claims.scope.split(' '));
            let (session, expires) = (claims.sid, claims.exp);
            let user = Arc::new(User { name: claims.sub, scopes, session, expires });
            let (name, keys) = (tenant.name().as_str().into(), tenant.keys.clone());
            let verified = Verified::Own { tenant: name, keys, user: user.clone() };
            ((tenant, Principal::User(user)), verified)
        } else {
            // One of ours with a key that is gone is not another issuer's.
            let issuer = external::named_issuer(text).filter(|issuer| issuer != ISSUER);
            let issuer = issuer.ok_or_else(invalid)?;
            let (tenant, proof, user) = external::verify(table, named, &issuer, &header, text).await?;
            let user = Arc::new(user);
            let name = tenant.name().as_str().into();
            let verified = Verified::External { tenant: name, proof, user: user.clone() };
            ((tenant, Principal::External(user)), verified)
        };
        self.0.insert(token.into(), Arc::new(verified));
        Ok(found)
    }
}

/// The key of a tenant that a `kid` names, by its place.
fn own_key(table: &Table, kid: Option<&str>) -> Option<(Arc<Tenant>, usize)> {
    let (tenant, key) = kid?.split_once('.')?;
    let tenant = table.get(tenant)?;
    let key = tenant.keys.verifying.iter().position(|known| known.id == key)?;
    Some((tenant, key))
}

fn verify_own(tenant: &Tenant, key: &VerifyingKey, token: &str) -> Option<Claims> {
    let mut validation = Validation::new(key.algorithm);
    validation.leeway = 0;
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation).ok()?.claims;
    (claims.tenant == tenant.name().as_str()).then_some(claims)
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
