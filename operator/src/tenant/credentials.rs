//! The secrets of a tenant: generated once, then only read. Nothing here shows one.

pub mod signing;

use std::collections::BTreeMap;

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine, engine::general_purpose::STANDARD};
use keystead_crds::Topology;
use keystead_route::{
    ADMIN_KEY_ID, Algorithm, ApiKeyText, DataKey, Encryption, SecretText, SigningKey, TenantName, hex,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::names::APP_USER;
use signing::Place;

const GATEWAY_PASSWORD: &str = "gateway-password";
pub const WORKER_PASSWORD: &str = "worker-password";
pub const MONITOR_PASSWORD: &str = "monitor-password";
pub const REPLICATION_PASSWORD: &str = "replication-password";
pub const SENTINEL_PASSWORD: &str = "sentinel-password";
pub const CLUSTER_PASSWORD: &str = "cluster-password";
pub const KEEPER_PASSWORD: &str = "keeper-password";
pub const APP_PASSWORD: &str = "app-password";
/// Ends the name of every password.
const PASSWORD: &str = "-password";
/// Then the name of a password that will take the place of the one before, and of the one whose place it took: both are
/// valid beside it for a while.
pub const NEXT: &str = "-next";
pub const FORMER: &str = "-former";
const ADMIN_API_KEY: &str = "admin-api-key";
const SIGNING_EDDSA: &str = "signing-eddsa.pem";
const SIGNING_HS256: &str = "signing-hs256";
/// Then its version.
const ENCRYPTION_KEY: &str = "encryption-key-";
/// What webhooks are signed with, and what they were signed with before, for as long as somebody keeps that beside it.
const WEBHOOK_SECRETS: [&str; 2] = [WEBHOOK_SECRET, "webhook-secret-former"];
const WEBHOOK_SECRET: &str = "webhook-secret";
/// Begins such a secret (Standard Webhooks).
const WEBHOOK_SECRET_PREFIX: &str = "whsec_";

/// What a tenant needs beside the passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Of the key that is to sign.
    pub signing: Algorithm,
    /// Version of the key that values are written with; none: they are not encrypted.
    pub encryption: Option<u32>,
    /// Decides who logs in to Redis beside gateway, worker and monitor.
    pub topology: Topology,
    /// Whether the tenant's own clients do.
    pub app: bool,
    /// Whether it sends webhooks.
    pub webhooks: bool,
}

/// What the Secret `credentials` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub gateway_password: SecretText,
    pub worker_password: SecretText,
    pub monitor_password: SecretText,
    /// Of those who log in beside them, in any topology that the tenant has or had, by user.
    pub members: BTreeMap<&'static str, SecretText>,
    /// Passwords that are valid beside those, by the name of the one whose place they took or will take.
    pub others: BTreeMap<String, Vec<SecretText>>,
    /// Of these, the ones to come, by user.
    pub next: BTreeMap<String, SecretText>,
    /// Every signing key there is: one that no longer signs still verifies.
    pub keys: Vec<SigningKey>,
    /// Of the key that signs.
    pub active_key: String,
    /// Of the API key with which the tenant's owner begins.
    pub admin_key_sha256: String,
    /// None: there never was a key of values.
    pub encryption: Option<Encryption>,
    /// What webhooks are signed with, by name; empty: none are sent.
    pub webhook_secrets: BTreeMap<&'static str, SecretText>,
}

/// Passwords of those who log in to Redis beside gateway, worker and monitor: of the script beside a single Redis, of a replica
/// to its primary, of the Sentinels to each other and to Redis, of the scripts of a Cluster, and of the tenant's own clients.
const OF_MEMBERS: [(&str, &str); 5] = [
    ("keeper", KEEPER_PASSWORD),
    ("replication", REPLICATION_PASSWORD),
    ("sentinel", SENTINEL_PASSWORD),
    ("cluster", CLUSTER_PASSWORD),
    (APP_USER, APP_PASSWORD),
];

/// Those of these that a tenant needs.
fn of_members(needs: Needs) -> impl Iterator<Item = &'static str> {
    let among: &[&str] = match needs.topology {
        Topology::Standalone => &[KEEPER_PASSWORD],
        Topology::Replicated => &[REPLICATION_PASSWORD, SENTINEL_PASSWORD],
        Topology::Cluster => &[REPLICATION_PASSWORD, CLUSTER_PASSWORD],
    };
    among.iter().copied().chain(needs.app.then_some(APP_PASSWORD))
}

/// Why no secret could be made.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random numbers")]
pub struct NoRandomness;

/// The contents of the Secret as the API server gives them, by name.
pub type Contents = BTreeMap<String, String>;

/// Secrets that somebody else keeps, by name. Shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Outside(pub Contents);

impl std::fmt::Debug for Outside {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why the passwords that somebody else keeps cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is missing, or is not 16 to 128 letters, digits and characters of -_.~+/=: put one in, or leave redis.credentials.existingSecret out"
)]
pub struct WrongPassword(String);

impl Outside {
    /// Takes from a Secret the passwords that are needed. They stand in configuration files, which have characters of their own.
    /// That of the tenant's own clients is made where it is not there: who reads it, reads it from our Secret.
    pub fn read(data: Option<&Value>, needs: Needs) -> Result<Self, WrongPassword> {
        let contents = contents(data);
        let is_asked_for = |name: &String| name != APP_PASSWORD || contents.contains_key(name);
        let taken = passwords(needs).into_iter().filter(is_asked_for).map(|name| {
            let is_good = |text: &&String| {
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
                (16..=128).contains(&text.len()) && text.bytes().all(is_plain)
            };
            let text = contents.get(&name).filter(is_good).cloned();
            text.map(|text| (name.clone(), text)).ok_or(WrongPassword(name))
        });
        taken.collect::<Result<_, _>>().map(Self)
    }

    /// These, where there are none of the name yet.
    pub fn beside(&self, contents: &Contents) -> Contents {
        self.0.iter().chain(contents).map(|(name, text)| (name.clone(), text.clone())).collect()
    }

    /// Those of these that are to be put in as there are none yet; a signing key only where there is none at all, as it takes
    /// the place of another in steps.
    pub fn lacking(&self, contents: &Contents) -> Contents {
        let has_key = signing::is_there(contents);
        let is_key =
            |name: &str| signing::ALGORITHMS.iter().any(|it| signing::name(*it, Place::Active) == name);
        let is_lacking = |(name, _): &(&String, &String)| {
            if is_key(name) { !has_key } else { !is_there(contents, name) }
        };
        self.0.iter().filter(is_lacking).map(|(name, text)| (name.clone(), text.clone())).collect()
    }

    /// Both of these.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0.into_iter().chain(other.0).collect())
    }
}

/// Takes the credentials out of the Secret; `None` where something is missing, see [`missing`].
pub fn read(contents: &Contents, needs: Needs) -> Option<Credentials> {
    let (keys, active_key) = signing::keys(contents, needs.signing)?;
    let text = |name: &str| contents.get(name).filter(|it| !it.is_empty()).map(|it| it.as_str().into());
    if of_members(needs).any(|name| text(name).is_none()) {
        return None;
    }
    let names = passwords(needs);
    Some(Credentials {
        gateway_password: text(GATEWAY_PASSWORD)?,
        worker_password: text(WORKER_PASSWORD)?,
        monitor_password: text(MONITOR_PASSWORD)?,
        members: OF_MEMBERS.iter().filter_map(|(user, name)| Some((*user, text(name)?))).collect(),
        others: others(contents),
        next: contents
            .iter()
            .filter_map(|(name, text)| {
                // Of a user that there is: a change of topology may have taken it away in the middle of a rotation.
                let of = password_of(name, NEXT).filter(|of| names.iter().any(|it| it == of))?;
                Some((of.strip_suffix(PASSWORD)?.to_owned(), text.as_str().into()))
            })
            .collect(),
        keys,
        active_key,
        admin_key_sha256: ApiKeyText::parse(contents.get(ADMIN_API_KEY)?)?.hash(),
        encryption: encryption(contents, needs.encryption)?,
        webhook_secrets: webhook_secrets(contents, needs.webhooks)?,
    })
}

fn others(contents: &Contents) -> BTreeMap<String, Vec<SecretText>> {
    let mut others: BTreeMap<String, Vec<SecretText>> = BTreeMap::new();
    for (name, text) in contents.iter().filter(|(_, text)| !text.is_empty()) {
        if let Some(of) = password_of(name, NEXT).or_else(|| password_of(name, FORMER)) {
            others.entry(of.to_owned()).or_default().push(text.as_str().into());
        }
    }
    others
}

/// The password beside which there is another of this name, with such an ending.
pub fn password_of<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    name.strip_suffix(ending).filter(|of| of.ends_with(PASSWORD))
}

/// The names of the passwords that a tenant has.
pub fn passwords(needs: Needs) -> Vec<String> {
    wanted(needs).into_iter().filter(|name| name.ends_with(PASSWORD)).collect()
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

/// None where that which is needed is missing.
fn webhook_secrets(contents: &Contents, needed: bool) -> Option<BTreeMap<&'static str, SecretText>> {
    if !needed {
        return Some(BTreeMap::new());
    }
    let text = |name: &'static str| Some((name, contents.get(name)?.as_str().into()));
    let secrets: BTreeMap<_, _> = WEBHOOK_SECRETS.into_iter().filter_map(text).collect();
    secrets.contains_key(WEBHOOK_SECRET).then_some(secrets)
}

fn encryption_key(version: u32) -> String {
    format!("{ENCRYPTION_KEY}{version}")
}

/// Whether everything that is needed is there.
pub fn is_complete(contents: &Contents, needs: Needs) -> bool {
    signing::is_there(contents) && wanted(needs).iter().all(|name| is_there(contents, name))
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
    let key = (!signing::is_there(contents)).then(|| signing::name(needs.signing, Place::Active).to_owned());
    wanted(needs).into_iter().filter(absent).chain(key).map(made).collect()
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
    contents.iter().map(|(name, text)| (name.clone(), encoded(text))).collect()
}

/// A text as in a Secret's `data`.
pub fn encoded(text: &str) -> Value {
    Value::String(STANDARD.encode(text))
}

/// What is needed, but for the key that signs.
fn wanted(needs: Needs) -> Vec<String> {
    let always = [GATEWAY_PASSWORD, WORKER_PASSWORD, MONITOR_PASSWORD, ADMIN_API_KEY];
    let names = always.into_iter().chain(of_members(needs)).map(str::to_owned);
    let webhooks = needs.webhooks.then(|| WEBHOOK_SECRET.to_owned());
    names.chain(needs.encryption.map(encryption_key)).chain(webhooks).collect()
}

pub fn generate(tenant: &TenantName, name: &str) -> Result<String, NoRandomness> {
    match name {
        ADMIN_API_KEY => Ok(ApiKeyText::make(tenant, ADMIN_KEY_ID, random()?).0.into()),
        SIGNING_EDDSA => {
            let key = Ed25519KeyPair::generate().map_err(|_| NoRandomness)?;
            let der = key.to_pkcs8v1().map_err(|_| NoRandomness)?;
            Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der)))
        }
        SIGNING_HS256 => Ok(STANDARD.encode(random::<48>()?)),
        WEBHOOK_SECRET => Ok(format!("{WEBHOOK_SECRET_PREFIX}{}", STANDARD.encode(random::<32>()?))),
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
mod tests;
