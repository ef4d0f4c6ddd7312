//! The keys that an issuer publishes (RFC 7517), and what each of them may verify. Decides without I/O.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of one issuer.
const MAX_KEYS: usize = 100;
/// RFC 7518, section 3.3.
const MIN_RSA_BITS: usize = 2048;

/// What is read of a key. Private members and certificates are not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A key that verifies tokens, and the one algorithm that they may have.
pub(crate) struct PublicKey {
    id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

/// The usable keys of an issuer at one time.
pub(crate) struct KeySet {
    published: Vec<Jwk>,
    keys: Vec<PublicKey>,
}

/// Why a document is not taken for a set of keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidKeySet {
    #[error("the keys are no JSON Web Key Set: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("there are {0} keys, more than {MAX_KEYS}")]
    TooMany(usize),
}

impl KeySet {
    /// What cannot be used is left out, as RFC 7517, section 5, has it.
    pub(super) fn from_json(document: &[u8]) -> Result<Self, InvalidKeySet> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys } = serde_json::from_slice(document)?;
        if keys.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooMany(keys.len()));
        }
        let published: Vec<Jwk> =
            keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        let keys = published.iter().filter_map(prepare).collect();
        Ok(Self { published, keys })
    }

    /// The key of a token with this `kid`; of one without, the only key that there is.
    pub(crate) fn find(&self, kid: Option<&str>) -> Option<&PublicKey> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.id.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Whether these are just the same keys.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.published == other.published
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn prepare(jwk: &Jwk) -> Option<PublicKey> {
    let algorithm = algorithm(jwk)?;
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => {
            DecodingKey::from_ec_components(jwk.x.as_ref()?, jwk.y.as_ref()?)
        }
        Algorithm::EdDSA => DecodingKey::from_ed_components(jwk.x.as_ref()?),
        _ => DecodingKey::from_rsa_components(jwk.n.as_ref()?, jwk.e.as_ref()?),
    };
    Some(PublicKey { id: jwk.kid.clone(), algorithm, key: key.ok()? })
}

/// The one algorithm of a key's tokens; none where it may verify none. A token has no say in it: else it could have its
/// signature checked as what it is not.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let is_for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|it| it == "verify"));
    if !is_for_signatures {
        return None;
    }
    // The first where the key does not say.
    let possible: &[Algorithm] = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) if rsa_bits(jwk)? >= MIN_RSA_BITS => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        ("EC", Some("P-256")) => &[Algorithm::ES256],
        ("EC", Some("P-384")) => &[Algorithm::ES384],
        ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
        _ => return None,
    };
    match &jwk.alg {
        None => possible.first().copied(),
        Some(word) => word.parse().ok().filter(|algorithm| possible.contains(algorithm)),
    }
}

fn rsa_bits(jwk: &Jwk) -> Option<usize> {
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(jwk.n.as_ref()?).ok()?;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    Some((modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn modulus(bytes: usize) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(vec![0xff; bytes])
    }

    fn decided(key: Value) -> Option<Algorithm> {
        algorithm(&serde_json::from_value(key).unwrap())
    }

    #[test]
    fn a_key_has_one_algorithm_by_what_it_says_or_else_by_its_kind() {
        let n = modulus(256);
        for (key, expected) in [
            (json!({"kty": "RSA", "n": n}), Algorithm::RS256),
            (json!({"kty": "RSA", "n": n, "use": "sig", "alg": "RS512"}), Algorithm::RS512),
            (json!({"kty": "RSA", "n": n, "alg": "PS256", "key_ops": ["verify"]}), Algorithm::PS256),
            (json!({"kty": "EC", "crv": "P-256"}), Algorithm::ES256),
            (json!({"kty": "EC", "crv": "P-384", "alg": "ES384"}), Algorithm::ES384),
            (json!({"kty": "OKP", "crv": "Ed25519"}), Algorithm::EdDSA),
        ] {
            assert_eq!(decided(key.clone()), Some(expected), "{key}");
        }
    }

    #[test]
    fn a_key_that_is_symmetric_weak_contradictory_or_for_something_else_verifies_nothing() {
        let n = modulus(256);
        for key in [
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
            json!({"kty": "RSA", "n": n, "alg": "HS256"}),
            json!({"kty": "RSA", "n": n, "alg": "none"}),
            json!({"kty": "RSA", "n": n, "alg": "ES256"}),
            json!({"kty": "RSA", "n": n, "use": "enc"}),
            json!({"kty": "RSA", "n": n, "key_ops": ["encrypt"]}),
            json!({"kty": "RSA", "n": modulus(255)}),
            // The length is that of the number: zeros in front add nothing.
            json!({"kty": "RSA", "n": BASE64_URL_SAFE_NO_PAD.encode([vec![0; 128], vec![0xff; 128]].concat())}),
            json!({"kty": "RSA", "n": BASE64_URL_SAFE_NO_PAD.encode([vec![0x7f], vec![0xff; 255]].concat())}),
            json!({"kty": "RSA", "n": "!"}),
            json!({"kty": "RSA"}),
            json!({"kty": "EC", "crv": "P-256", "alg": "ES384"}),
            json!({"kty": "EC", "crv": "P-521"}),
            json!({"kty": "EC", "crv": "secp256k1"}),
            json!({"kty": "OKP", "crv": "X25519"}),
        ] {
            assert_eq!(decided(key.clone()), None, "{key}");
        }
    }

    #[test]
    fn a_token_without_a_key_id_is_for_the_only_key() {
        let x = BASE64_URL_SAFE_NO_PAD.encode([1; 32]);
        let key = |kid: &str| json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid});
        let set = |keys: &[Value]| KeySet::from_json(json!({"keys": keys}).to_string().as_bytes()).unwrap();
        let one = set(&[key("a"), json!({"kty": "oct", "k": "AAAA", "kid": "s"}), json!({"kid": "broken"})]);
        assert!(one.find(None).is_some() && one.find(Some("a")).is_some());
        assert!(one.find(Some("s")).is_none() && one.find(Some("broken")).is_none());
        let two = set(&[key("a"), key("b")]);
        assert!(two.find(None).is_none() && two.find(Some("b")).is_some());
        assert!(set(&[]).find(None).is_none());
    }

    #[test]
    fn a_set_has_a_bounded_number_of_keys() {
        let document = json!({"keys": vec![json!({}); MAX_KEYS + 1]}).to_string();
        assert!(matches!(KeySet::from_json(document.as_bytes()), Err(InvalidKeySet::TooMany(101))));
    }
}
