//! The secrets of a tenant: generated once, then only read. Nothing here shows one.

use std::collections::BTreeMap;

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine, engine::general_purpose::STANDARD};
use keystead_route::{
    ADMIN_KEY_ID, Algorithm, ApiKeyText, DataKey, Encryption, SecretText, SigningKey, TenantName, hex,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

const GATEWAY_PASSWORD: &str = "gateway-password";
pub const WORKER_PASSWORD: &str = "worker-password";
pub const MONITOR_PASSWORD: &str = "monitor-password";
const ADMIN_API_KEY: &str = "admin-api-key";
const SIGNING_EDDSA: &str = "signing-eddsa.pem";
const SIGNING_HS256: &str = "signing-hs256";
/// Then its version.
const ENCRYPTION_KEY: &str = "encryption-key-";

/// What a tenant needs beside the passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Of the key that signs.
    pub signing: Algorithm,
    /// Version of the key that values are written with; none: they are not encrypted.
    pub encryption: Option<u32>,
}

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
    /// None: there never was a key of values.
    pub encryption: Option<Encryption>,
}

/// Why no secret could be made.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random numbers")]
pub struct NoRandomness;

/// The contents of the Secret as the API server gives them, by name.
pub type Contents = BTreeMap<String, String>;

/// Takes the credentials out of the Secret; `None` where something is missing, see [`missing`].
pub fn read(contents: &Contents, needs: Needs) -> Option<Credentials> {
    let keys: Vec<SigningKey> = [(Algorithm::EdDSA, SIGNING_EDDSA), (Algorithm::HS256, SIGNING_HS256)]
        .into_iter()
        .filter_map(|(algorithm, name)| {
            let secret = contents.get(name)?;
            Some(SigningKey { id: key_id(secret), algorithm, secret: secret.as_str().into() })
        })
        .collect();
    let active_key = keys.iter().find(|key| key.algorithm == needs.signing)?.id.clone();
    let text = |name: &str| contents.get(name).filter(|it| !it.is_empty()).map(|it| it.as_str().into());
    Some(Credentials {
        gateway_password: text(GATEWAY_PASSWORD)?,
        worker_password: text(WORKER_PASSWORD)?,
        monitor_password: text(MONITOR_PASSWORD)?,
        keys,
        active_key,
        admin_key_sha256: ApiKeyText::parse(contents.get(ADMIN_API_KEY)?)?.hash(),
        encryption: encryption(contents, needs.encryption)?,
    })
}

/// Every key of values that there is; the outer none where the one that is needed is missing.
fn encryption(contents: &Contents, version: Option<u32>) -> Option<Option<Encryption>> {
    let keys: Vec<DataKey> = contents
        .iter()
        .filter(|(name, _)| name.starts_with(ENCRYPTION_KEY))
        .map(|(name, secret)| DataKey { name: name.clone(), secret: secret.as_str().into() })
        .collect();
    let active_key = version.map(encryption_key);
    if active_key.as_ref().is_some_and(|active| !contents.contains_key(active)) {
        return None;
    }
    Some((!keys.is_empty()).then_some(Encryption { keys, active_key }))
}

fn encryption_key(version: u32) -> String {
    format!("{ENCRYPTION_KEY}{version}")
}

/// Whether everything that is needed is there.
pub fn is_complete(contents: &Contents, needs: Needs) -> bool {
    wanted(needs).iter().all(|name| is_there(contents, name))
}

/// An API key that is none would keep the tenant without any: it counts as missing. A key of values never does: a new one in
/// its place would make unreadable what was written with it.
fn is_there(contents: &Contents, name: &str) -> bool {
    contents.get(name).is_some_and(|text| {
        name.starts_with(ENCRYPTION_KEY)
            || (!text.is_empty() && (name != ADMIN_API_KEY || ApiKeyText::parse(text).is_some()))
    })
}

/// Makes what is missing, and nothing else.
pub fn missing(tenant: &TenantName, contents: &Contents, needs: Needs) -> Result<Contents, NoRandomness> {
    let absent = |name: &String| !is_there(contents, name);
    let made = |name: String| {
        let secret = generate(tenant, &name)?;
        Ok((name, secret))
    };
    wanted(needs).into_iter().filter(absent).map(made).collect()
}

/// Takes the contents out of a Secret's `data`. Bytes that are no text are left out, and so are made anew; but not those of a
/// key of values, which is then an empty text.
pub fn contents(data: Option<&Value>) -> Contents {
    let fields = data.and_then(Value::as_object).into_iter().flatten();
    fields
        .filter_map(|(name, value)| {
            let bytes = STANDARD.decode(value.as_str()?).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            let is_data_key = name.starts_with(ENCRYPTION_KEY);
            Some((name.clone(), text.or_else(|| is_data_key.then(String::new))?))
        })
        .collect()
}

/// Contents as a Secret's `data`.
pub fn data(contents: &Contents) -> Value {
    contents.iter().map(|(name, text)| (name.clone(), Value::String(STANDARD.encode(text)))).collect()
}

fn wanted(needs: Needs) -> Vec<String> {
    let key = match needs.signing {
        Algorithm::EdDSA => SIGNING_EDDSA,
        Algorithm::HS256 => SIGNING_HS256,
    };
    let always = [GATEWAY_PASSWORD, WORKER_PASSWORD, MONITOR_PASSWORD, ADMIN_API_KEY, key];
    always.map(str::to_owned).into_iter().chain(needs.encryption.map(encryption_key)).collect()
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
        name if name.starts_with(ENCRYPTION_KEY) => Ok(STANDARD.encode(random::<32>()?)),
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

    fn needs(signing: Algorithm) -> Needs {
        Needs { signing, encryption: None }
    }

    fn made(contents: &Contents, signing: Algorithm) -> Contents {
        missing(&"shop".parse().unwrap(), contents, needs(signing)).unwrap()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_stays() {
        let mut contents = made(&Contents::new(), Algorithm::EdDSA);
        assert!(is_complete(&contents, needs(Algorithm::EdDSA)));
        let before = read(&contents, needs(Algorithm::EdDSA)).unwrap();

        let added = made(&contents, Algorithm::HS256);
        assert_eq!(added.keys().collect::<Vec<_>>(), [SIGNING_HS256]);
        contents.extend(added);
        let after = read(&contents, needs(Algorithm::HS256)).unwrap();
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
        let id = |contents| read(contents, needs(Algorithm::EdDSA)).unwrap().active_key;
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
        let hash = read(&contents, needs(Algorithm::EdDSA)).unwrap().admin_key_sha256;
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

    #[test]
    fn a_key_of_values_is_made_once_for_each_version_and_never_anew() {
        let version = |version| Needs { signing: Algorithm::EdDSA, encryption: Some(version) };
        let mut contents = made(&Contents::new(), Algorithm::EdDSA);
        assert_eq!(read(&contents, needs(Algorithm::EdDSA)).unwrap().encryption, None);
        assert!(read(&contents, version(1)).is_none(), "there is no key yet");
        let shop = "shop".parse().unwrap();
        for number in [1, 2] {
            let added = missing(&shop, &contents, version(number)).unwrap();
            assert_eq!(added.keys().collect::<Vec<_>>(), [&encryption_key(number)]);
            assert_eq!(STANDARD.decode(&added[&encryption_key(number)]).unwrap().len(), 32);
            contents.extend(added);
        }
        let names = |needs| {
            let encryption = read(&contents, needs).unwrap().encryption.unwrap();
            (encryption.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>(), encryption.active_key)
        };
        let both = vec!["encryption-key-1".to_owned(), "encryption-key-2".to_owned()];
        assert_eq!(names(version(2)), (both.clone(), Some("encryption-key-2".into())));
        assert_eq!(
            names(needs(Algorithm::EdDSA)),
            (both, None),
            "turned off, what was written stays readable"
        );
        contents.insert("encryption-key-1".into(), "by hand".into());
        assert!(missing(&shop, &contents, version(1)).unwrap().is_empty());
        let mut raw = data(&contents);
        raw["encryption-key-1"] = Value::String(STANDARD.encode([0xff; 32]));
        let contents = super::contents(Some(&raw));
        assert!(missing(&shop, &contents, version(1)).unwrap().is_empty(), "bytes are not made anew either");
    }
}
