//! The secrets of a tenant: generated once, then only read. Nothing here shows one.

use std::collections::BTreeMap;

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine, engine::general_purpose::STANDARD};
use keystead_route::{Algorithm, SecretText, SigningKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::hex::hex;

const GATEWAY_PASSWORD: &str = "gateway-password";
pub const WORKER_PASSWORD: &str = "worker-password";
pub const MONITOR_PASSWORD: &str = "monitor-password";
const SIGNING_EDDSA: &str = "signing-eddsa.pem";
const SIGNING_HS256: &str = "signing-hs256";

/// What the Secret `credentials` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub gateway_password: SecretText,
    pub worker_password: SecretText,
    pub monitor_password: SecretText,
    /// Every signing key there is: one that no longer signs still verifies.
    pub keys: Vec<SigningKey>,
    /// Of the key that signs.
    pub active_key: String,
}

/// Why no secret could be made.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random numbers")]
pub struct NoRandomness;

/// The contents of the Secret as the API server gives them, by name.
pub type Contents = BTreeMap<String, String>;

/// Takes the credentials out of the Secret; `None` where something is missing, see [`missing`].
pub fn read(contents: &Contents, signing: Algorithm) -> Option<Credentials> {
    let keys: Vec<SigningKey> = [(Algorithm::EdDSA, SIGNING_EDDSA), (Algorithm::HS256, SIGNING_HS256)]
        .into_iter()
        .filter_map(|(algorithm, name)| {
            let secret = contents.get(name)?;
            Some(SigningKey { id: key_id(secret), algorithm, secret: secret.as_str().into() })
        })
        .collect();
    let active_key = keys.iter().find(|key| key.algorithm == signing)?.id.clone();
    let text = |name: &str| contents.get(name).filter(|it| !it.is_empty()).map(|it| it.as_str().into());
    Some(Credentials {
        gateway_password: text(GATEWAY_PASSWORD)?,
        worker_password: text(WORKER_PASSWORD)?,
        monitor_password: text(MONITOR_PASSWORD)?,
        keys,
        active_key,
    })
}

/// Whether everything that `signing` needs is there.
pub fn is_complete(contents: &Contents, signing: Algorithm) -> bool {
    wanted(signing).iter().all(|name| contents.get(*name).is_some_and(|it| !it.is_empty()))
}

/// Makes what is missing, and nothing else.
pub fn missing(contents: &Contents, signing: Algorithm) -> Result<Contents, NoRandomness> {
    let absent = |name: &&'static str| contents.get(*name).is_none_or(String::is_empty);
    wanted(signing).into_iter().filter(absent).map(|name| Ok((name.to_owned(), generate(name)?))).collect()
}

/// Takes the contents out of a Secret's `data`. Bytes that are no text are left out, and so are made anew.
pub fn contents(data: Option<&Value>) -> Contents {
    let fields = data.and_then(Value::as_object).into_iter().flatten();
    fields
        .filter_map(|(name, value)| {
            let bytes = STANDARD.decode(value.as_str()?).ok()?;
            Some((name.clone(), String::from_utf8(bytes).ok()?))
        })
        .collect()
}

/// Contents as a Secret's `data`.
pub fn data(contents: &Contents) -> Value {
    contents.iter().map(|(name, text)| (name.clone(), Value::String(STANDARD.encode(text)))).collect()
}

fn wanted(signing: Algorithm) -> [&'static str; 4] {
    let key = match signing {
        Algorithm::EdDSA => SIGNING_EDDSA,
        Algorithm::HS256 => SIGNING_HS256,
    };
    [GATEWAY_PASSWORD, WORKER_PASSWORD, MONITOR_PASSWORD, key]
}

fn generate(name: &str) -> Result<String, NoRandomness> {
    match name {
        SIGNING_EDDSA => {
            let key = Ed25519KeyPair::generate().map_err(|_| NoRandomness)?;
            let der = key.to_pkcs8v1().map_err(|_| NoRandomness)?;
            Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der)))
        }
        SIGNING_HS256 => Ok(STANDARD.encode(random::<48>()?)),
        // Hexadecimal: it passes unquoted through configuration files and command lines.
        _ => Ok(hex(&random::<32>()?)),
    }
}

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    use aws_lc_rs::rand::SecureRandom;
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// An id that no other key has: a tenant made anew under an old name signs under another one.
fn key_id(secret: &str) -> String {
    let digest = Sha256::digest([b"keystead key id\0", secret.as_bytes()].concat());
    hex(&digest[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_is_there_stays() {
        let mut contents = missing(&Contents::new(), Algorithm::EdDSA).unwrap();
        assert!(is_complete(&contents, Algorithm::EdDSA));
        let before = read(&contents, Algorithm::EdDSA).unwrap();

        let added = missing(&contents, Algorithm::HS256).unwrap();
        assert_eq!(added.keys().collect::<Vec<_>>(), [SIGNING_HS256]);
        contents.extend(added);
        let after = read(&contents, Algorithm::HS256).unwrap();
        assert_eq!(after.gateway_password, before.gateway_password);
        assert_eq!(after.keys.len(), 2, "tokens signed before must still be verified");
        assert_eq!(after.keys[0], before.keys[0]);
        assert_ne!(after.active_key, before.active_key);
    }

    #[test]
    fn no_two_tenants_share_a_secret_or_a_key_id() {
        let [one, other] = [(); 2].map(|()| missing(&Contents::new(), Algorithm::EdDSA).unwrap());
        for (name, text) in &one {
            assert_ne!(text, &other[name], "{name}");
        }
        let id = |contents| read(contents, Algorithm::EdDSA).unwrap().active_key;
        assert_ne!(id(&one), id(&other));
    }

    #[test]
    fn secrets_are_long_enough() {
        let contents = missing(&Contents::new(), Algorithm::HS256).unwrap();
        assert!(STANDARD.decode(&contents[SIGNING_HS256]).unwrap().len() >= 32);
        assert_eq!(contents[GATEWAY_PASSWORD].len(), 64);
    }

    #[test]
    fn the_ed25519_key_is_pkcs8_that_signs() {
        let pem = generate(SIGNING_EDDSA).unwrap();
        let der = STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
        assert!(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).is_ok());
    }

    #[test]
    fn data_survives_the_way_through_the_secret() {
        let contents = missing(&Contents::new(), Algorithm::EdDSA).unwrap();
        assert_eq!(super::contents(Some(&data(&contents))), contents);
    }
}
