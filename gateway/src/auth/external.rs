//! Tokens of other issuers that a tenant trusts. The path names the tenant, since several may trust one issuer; who has no
//! valid token learns neither whether there is such a tenant nor, while its issuers can be reached, whom it trusts.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Header, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Scopes;
use crate::{
    issuers::{KeySet, Source, Trusted},
    problem::{Code, Problem},
    tenants::{Table, Tenant},
};

/// How far an issuer's clock may be off, in seconds.
const LEEWAY: u64 = 30;
const MAX_SUBJECT_BYTES: usize = 256;

/// The user of another issuer's token.
#[derive(Clone, Debug)]
pub(crate) struct External {
    pub(crate) issuer: String,
    /// Unique at the issuer.
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) scopes: Scopes,
    /// When the token is no longer taken, in seconds since 1970.
    expires: u64,
}

impl External {
    pub(crate) fn has_expired(&self) -> bool {
        self.expires <= super::token::now()
    }
}

/// With what a token was verified.
pub(super) struct Proof {
    trusted: Arc<Vec<Trusted>>,
    source: Arc<Source>,
    keys: Arc<KeySet>,
}

impl Proof {
    /// Whether the tenant trusts the same issuers still, and the issuer has the same keys.
    pub(super) fn holds(&self, tenant: &Tenant) -> bool {
        Arc::ptr_eq(&tenant.trusted, &self.trusted) && self.source.is_current(&self.keys)
    }
}

/// The issuer that a token names, which is not proven.
pub(super) fn named_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        iss: String,
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    Some(serde_json::from_slice::<Claims>(&claims).ok()?.iss)
}

pub(super) async fn verify(
    table: &Table,
    tenant: Option<&str>,
    issuer: &str,
    header: &Header,
    token: &str,
) -> Result<(Arc<Tenant>, Proof, External), Problem> {
    let named = tenant.ok_or_else(|| {
        Problem::new(
            Code::InvalidToken,
            "the token is not of a tenant served here; one of another issuer is taken where the path names the tenant: \
             use /t/<tenant>/api/v1",
        )
    })?;
    let tenant = table.get(named).ok_or_else(invalid)?;
    let trusted = tenant.trusted.clone();
    let of_issuer = trusted.iter().find(|trusted| trusted.issuer.issuer == issuer).ok_or_else(invalid)?;
    // RFC 7515, section 4.1.11: what must be understood and is not makes a token invalid.
    if header.crit.is_some() {
        return Err(invalid());
    }
    let kid = header.kid.as_deref();
    let keys = of_issuer.source.keys_for(kid).await.map_err(|unavailable| {
        let detail = "the keys of the token's issuer cannot be fetched: retry later";
        Problem::new(Code::IssuerUnavailable, detail).retry_after(unavailable.retry_after)
    })?;
    let user = check(token, &keys, kid, of_issuer).ok_or_else(invalid)?;
    let proof = Proof { source: of_issuer.source.clone(), keys, trusted: trusted.clone() };
    Ok((tenant, proof, user))
}

fn check(token: &str, keys: &KeySet, kid: Option<&str>, trusted: &Trusted) -> Option<External> {
    let key = keys.find(kid)?;
    let issuer = &trusted.issuer;
    let mut validation = Validation::new(key.algorithm);
    validation.leeway = LEEWAY;
    validation.validate_nbf = true;
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(&issuer.audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation).ok()?.claims;
    user(&claims, trusted)
}

fn user(claims: &Map<String, Value>, trusted: &Trusted) -> Option<External> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // It is written to the log.
    let is_name = |subject: &&str| {
        (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) && !subject.chars().any(char::is_control)
    };
    Some(External {
        issuer: trusted.issuer.issuer.clone(),
        subject: text("sub").filter(is_name)?.to_owned(),
        email: text("email").map(str::to_owned),
        scopes: scopes(claims.get(&trusted.issuer.scopes_claim)),
        expires: seconds(claims.get("exp")?)?.saturating_add(LEEWAY),
    })
}

/// Words separated by blanks (RFC 8693, section 4.2), or a list of words as some issuers have it.
fn scopes(claim: Option<&Value>) -> Scopes {
    match claim {
        Some(Value::String(words)) => Scopes::of(words.split(' ')),
        Some(Value::Array(words)) => Scopes::of(words.iter().filter_map(Value::as_str)),
        _ => Scopes::of([]),
    }
}

/// RFC 7519 lets a time have a fraction, which is cut off.
fn seconds(time: &Value) -> Option<u64> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, which is meant"
    )]
    time.as_u64().or_else(|| time.as_f64().map(|seconds| seconds as u64))
}

/// One answer for every reason, also where there is no such tenant.
fn invalid() -> Problem {
    Problem::new(
        Code::InvalidToken,
        "the token is expired, malformed, or not of an issuer that the tenant trusts: get a new one",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scopes_are_words_in_a_text_or_in_a_list() {
        let both = Scopes::of(["kv:read", "jobs:write"]);
        for (claim, expected) in [
            (json!("kv:read jobs:write"), both),
            (json!("openid kv:read  jobs:write root"), both),
            (json!(["kv:read", "jobs:write", 7, "kv:"]), both),
            // One word of a list is one word.
            (json!(["kv:read jobs:write"]), Scopes::of([])),
            (json!({"kv:read": true}), Scopes::of([])),
            (json!(null), Scopes::of([])),
        ] {
            assert_eq!(scopes(Some(&claim)), expected, "{claim}");
        }
        assert_eq!(scopes(None), Scopes::of([]));
    }

    #[test]
    fn a_time_may_have_a_fraction() {
        assert_eq!(seconds(&json!(1_700_000_000)), Some(1_700_000_000));
        assert_eq!(seconds(&json!(1_700_000_000.9)), Some(1_700_000_000));
        assert_eq!(seconds(&json!(1e300)), Some(u64::MAX));
        assert_eq!(seconds(&json!("1700000000")), None);
    }

    #[test]
    fn the_issuer_is_read_of_what_may_be_a_token() {
        let token = |claims: Value| format!("e30.{}.", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        assert_eq!(named_issuer(&token(json!({"iss": "https://a.example"}))).unwrap(), "https://a.example");
        for junk in ["", "a.b.c", &token(json!({"iss": ["https://a.example"]})), &token(json!([]))] {
            assert_eq!(named_issuer(junk), None, "{junk}");
        }
    }
}
