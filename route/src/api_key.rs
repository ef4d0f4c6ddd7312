//! The text of an API key: `ks_<tenant>_<id>_<secret>`, so that it tells whose it is and scanners of leaked secrets find it.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{SecretText, TenantName, hex};

/// Id of the one API key that the operator makes for each tenant: its hash is in the route, not in the tenant's Redis.
pub const ADMIN_KEY_ID: &str = "admin";
const PREFIX: &str = "ks_";

/// An API key as a client sends it; whether it is one, only its hash can tell.
#[derive(Clone, Copy)]
pub struct ApiKeyText<'a> {
    pub tenant: &'a str,
    pub id: &'a str,
    secret: &'a str,
}

impl std::fmt::Debug for ApiKeyText<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ApiKeyText")
            .field("tenant", &self.tenant)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<'a> ApiKeyText<'a> {
    /// Takes a text apart; none where it has not the form of an API key.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.split('_');
        let (tenant, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let is_key = parts.next().is_none()
            && (1..=32).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && secret.len() == 64;
        is_key.then_some(Self { tenant, id, secret })
    }

    /// Whether the secret's SHA-256 is this one, in a time that does not depend on it. A secret of 256 random bits needs no
    /// salt and no slow hash.
    pub fn has_hash(&self, sha256: &str) -> bool {
        hash(self.secret).as_bytes().ct_eq(sha256.as_bytes()).into()
    }

    /// An API key with this secret, and its hash.
    pub fn make(tenant: &TenantName, id: &str, secret: [u8; 32]) -> (SecretText, String) {
        let secret = hex(&secret);
        let hash = hash(&secret);
        (format!("{PREFIX}{tenant}_{id}_{secret}").into(), hash)
    }

    /// The hash of the secret.
    pub fn hash(&self) -> String {
        hash(self.secret)
    }
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_tells_whose_it_is_and_only_its_hash_accepts_it() {
        let (text, hash) = ApiKeyText::make(&"a-b".parse().unwrap(), "k1", [7; 32]);
        let parsed = ApiKeyText::parse(text.expose()).unwrap();
        assert_eq!((parsed.tenant, parsed.id), ("a-b", "k1"));
        assert!(parsed.has_hash(&hash) && parsed.hash() == hash);
        let (_, other) = ApiKeyText::make(&"a-b".parse().unwrap(), "k1", [8; 32]);
        assert!(!parsed.has_hash(&other) && !parsed.has_hash(""));
        assert!(!format!("{parsed:?}").contains("0707"), "{parsed:?}");
    }

    #[test]
    fn what_is_no_api_key_is_told_from_one() {
        let secret = "0".repeat(64);
        for wrong in [
            "",
            "ks_acme_k1",
            "ks_acme_k1_short",
            &format!("kx_acme_k1_{secret}"),
            &format!("ks_acme__{secret}"),
            &format!("ks_acme_K1_{secret}"),
            &format!("ks_acme_k:1_{secret}"),
            &format!("ks_acme_k1_{secret}_"),
        ] {
            assert!(ApiKeyText::parse(wrong).is_none(), "{wrong}");
        }
    }
}
