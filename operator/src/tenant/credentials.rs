//! The secrets of a tenant: generated once, then only read. Nothing here shows one.

use std::collections::BTreeMap;

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine, engine::general_purpose::STANDARD};
use keystead_route::{ADMIN_KEY_ID, Algorithm, ApiKeyText, SecretText, SigningKey, TenantName, hex};
use serde_json::Value;
use sha2::{Digest, Sha256};

const GATEWAY_PASSWORD: &str = "gateway-password";
pub const WORKER_PASSWORD: &str = "worker-password";
pub const MONITOR_PASSWORD: &str = "monitor-password";
const ADMIN_API_KEY: &str = "admin-api-key";
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
    /// Of the API key with which the tenant's owner begins.
    pub admin_key_sha256: String,
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
        admin_key_sha256: ApiKeyText::parse(contents.get(ADMIN_API_KEY)?)?.hash(),
    })
}

/// Whether everything that `signing` needs is there.
pub fn is_complete(contents: &Contents, signing: Algorithm) -> bool {
    wanted(signing).iter().all(|name| is_there(contents, name))
}

/// An API key that is none would keep the tenant without any: it counts as missing.
fn is_there(contents: &Contents, name: &str) -> bool {
    contents
        .get(name)
        .is_some_and(|text| !text.is_empty() && (name != ADMIN_API_KEY || ApiKeyText::parse(text).is_some()))
}

/// Makes what is missing, and nothing else.
pub fn missing(
    tenant: &TenantName,
    contents: &Contents,
    signing: Algorithm,
) -> Result<Contents, NoRandomness> {
    let absent = |name: &&'static str| !is_there(contents, name);
    let made = |name: &str| Ok((name.to_owned(), generate(tenant, name)?));
    wanted(signing).into_iter().filter(absent).map(made).collect()
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

fn wanted(signing: Algorithm) -> [&'static str; 5] {
    let key = match signing {
        Algorithm::EdDSA => SIGNING_EDDSA,
        Algorithm::HS256 => SIGNING_HS256,
    };
    [GATEWAY_PASSWORD, WORKER_PASSWORD, MONITOR_PASSWORD, ADMIN_API_KEY, key]
}

fn generate(tenant: &TenantName, name: &str) -> Result<String, NoRandomness> {
    match name {
        ADMIN_API_KEY => Ok(ApiKeyText::make(tenant, ADMIN_KEY_ID, random()?).0.into()),
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

    fn made(contents: &Contents, signing: Algorithm) -> Contents {
        missing(&"shop".parse().unwrap(), contents, signing).unwrap()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_stays() {
        let mut contents = made(&Contents::new(), Algorithm::EdDSA);
        assert!(is_complete(&contents, Algorithm::EdDSA));
        let before = read(&contents, Algorithm::EdDSA).unwrap();

        let added = made(&contents, Algorithm::HS256);
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
        let [one, other] = [(); 2].map(|()| made(&Contents::new(), Algorithm::EdDSA));
        for (name, text) in &one {
            assert_ne!(text, &other[name], "{name}");
        }
        let id = |contents| read(contents, Algorithm::EdDSA).unwrap().active_key;
        assert_ne!(id(&one), id(&other));
    }

    #[test]
    fn secrets_are_long_enough() {
        let contents = made(&Contents::new(), Algorithm::HS256);
        assert!(STANDARD.decode(&contents[SIGNING_HS256]).unwrap().len() >= 32);
        assert_eq!(contents[GATEWAY_PASSWORD].len(), 64);
    }

    #[test]
    fn the_admins_api_key_is_the_tenants_and_is_known_by_its_hash() {
        let mut contents = made(&Contents::new(), Algorithm::EdDSA);
        let text = contents[ADMIN_API_KEY].clone();
        let key = ApiKeyText::parse(&text).unwrap();
        assert_eq!((key.tenant, key.id), ("shop", ADMIN_KEY_ID));
        let hash = read(&contents, Algorithm::EdDSA).unwrap().admin_key_sha256;
        assert!(key.has_hash(&hash));
        contents.insert(ADMIN_API_KEY.into(), "by hand".into());
        assert_eq!(made(&contents, Algorithm::EdDSA).keys().collect::<Vec<_>>(), [ADMIN_API_KEY]);
    }

    #[test]
    fn the_ed25519_key_is_pkcs8_that_signs() {
        let pem = generate(&"shop".parse().unwrap(), SIGNING_EDDSA).unwrap();
        let der = STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
        assert!(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).is_ok());
    }

    #[test]
    fn data_survives_the_way_through_the_secret() {
        let contents = made(&Contents::new(), Algorithm::EdDSA);
        assert_eq!(super::contents(Some(&data(&contents))), contents);
    }
}
