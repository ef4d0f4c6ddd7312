//! The keys that sign tokens, by their names in the Secret: one is in use; the one to come and the one whose place it took
//! verify beside it for a while, see [`rotation::signing`](crate::tenant::rotation::signing).

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine, engine::general_purpose::STANDARD};
use keystead_route::{Algorithm, SigningKey};
use serde_json::Value;

use super::{Contents, Outside, SIGNING_EDDSA, SIGNING_HS256, key_id};

pub const ALGORITHMS: [Algorithm; 2] = [Algorithm::EdDSA, Algorithm::HS256];
/// Shortest secret of HS256, in bytes: a gateway takes none that is shorter.
const MIN_SECRET_BYTES: usize = 32;

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It signs.
    Active,
    /// It will sign.
    Next,
    /// It has signed.
    Former,
}

/// Why a key that somebody else keeps cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongKey {
    #[error(
        "{SIGNING_EDDSA} is missing, or is no Ed25519 private key as PKCS#8 PEM: put in one such as `openssl genpkey -algorithm ed25519` makes, or leave auth.existingSecret out"
    )]
    Ed25519,
    #[error(
        "{SIGNING_HS256} is missing, or is not base64 of at least {MIN_SECRET_BYTES} bytes: put in one such as `openssl rand -base64 48` makes, or leave auth.existingSecret out"
    )]
    Hs256,
}

pub const fn name(algorithm: Algorithm, place: Place) -> &'static str {
    match (algorithm, place) {
        (Algorithm::EdDSA, Place::Active) => SIGNING_EDDSA,
        (Algorithm::EdDSA, Place::Next) => "signing-eddsa-next.pem",
        (Algorithm::EdDSA, Place::Former) => "signing-eddsa-former.pem",
        (Algorithm::HS256, Place::Active) => SIGNING_HS256,
        (Algorithm::HS256, Place::Next) => "signing-hs256-next",
        (Algorithm::HS256, Place::Former) => "signing-hs256-former",
    }
}

/// The keys at this place.
pub fn at(contents: &Contents, place: Place) -> impl Iterator<Item = (Algorithm, &str)> {
    ALGORITHMS.into_iter().filter_map(move |algorithm| {
        let text = contents.get(name(algorithm, place)).filter(|text| !text.is_empty())?;
        Some((algorithm, text.as_str()))
    })
}

/// Whether there is a key that signs.
pub fn is_there(contents: &Contents) -> bool {
    at(contents, Place::Active).next().is_some()
}

/// Every key that verifies, and the id of the one that signs: of this algorithm, or of the other while there is none of it.
pub(super) fn keys(contents: &Contents, signing: Algorithm) -> Option<(Vec<SigningKey>, String)> {
    let wanted = at(contents, Place::Active).find(|(algorithm, _)| *algorithm == signing);
    let (_, active) = wanted.or_else(|| at(contents, Place::Active).next())?;
    let keys = [Place::Active, Place::Next, Place::Former]
        .into_iter()
        .flat_map(|place| at(contents, place))
        .map(|(algorithm, secret)| SigningKey { id: key_id(secret), algorithm, secret: secret.into() })
        .collect();
    Some((keys, key_id(active)))
}

/// Takes from a Secret that somebody else keeps the key that is to sign.
pub fn outside(data: Option<&Value>, signing: Algorithm) -> Result<Outside, WrongKey> {
    let name = name(signing, Place::Active);
    let contents = super::contents(data);
    let text = contents.get(name).map(|text| text.trim()).filter(|text| is_key(text, signing));
    let text = text.ok_or(match signing {
        Algorithm::EdDSA => WrongKey::Ed25519,
        Algorithm::HS256 => WrongKey::Hs256,
    })?;
    Ok(Outside([(name.to_owned(), text.to_owned())].into()))
}

/// Whether a gateway can sign with it.
fn is_key(text: &str, algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::EdDSA => {
            let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
            STANDARD.decode(body).is_ok_and(|der| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).is_ok())
        }
        Algorithm::HS256 => STANDARD.decode(text).is_ok_and(|secret| secret.len() >= MIN_SECRET_BYTES),
    }
}
