//! Reads certificates, as far as it is decided by what they say. RFC 5280.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, pem::parse_x509_pem};

use super::{Authority, CERTIFICATE, Contents, KEY, Names, WrongAuthority};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A certificate and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Ends with a new line.
    pub pem: String,
    pub from: Timestamp,
    pub until: Timestamp,
    addresses: BTreeSet<IpAddr>,
    hosts: BTreeSet<String>,
}

impl Certificate {
    /// Every certificate in a text; what cannot be read is left out.
    pub fn all(text: &str) -> Vec<Self> {
        let blocks = text.split_inclusive(END);
        blocks.filter_map(|block| Self::read(&block[block.find(BEGIN)?..])).collect()
    }

    fn read(pem: &str) -> Option<Self> {
        with(pem, |it| {
            let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
            let mut read = Self {
                pem: format!("{}\n", pem.trim_end()),
                from: time(it.validity().not_before)?,
                until: time(it.validity().not_after)?,
                addresses: BTreeSet::new(),
                hosts: BTreeSet::new(),
            };
            let named = it.subject_alternative_name().ok()?;
            for name in named.into_iter().flat_map(|it| &it.value.general_names) {
                match name {
                    GeneralName::DNSName(host) => {
                        read.hosts.insert((*host).to_owned());
                    }
                    GeneralName::IPAddress(bytes) => {
                        let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                        read.addresses.insert(v4.or(<[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok()?);
                    }
                    _ => {}
                }
            }
            Some(read)
        })
    }

    /// Whether whoever trusts that one believes this one.
    pub fn is_signed_by(&self, authority: &Self) -> bool {
        let is_signed = with(&self.pem, |own| {
            with(&authority.pem, |its| {
                let is_named = own.issuer().as_raw() == its.subject().as_raw();
                Some(is_named && own.verify_signature(Some(its.public_key())).is_ok())
            })
        });
        is_signed == Some(true)
    }

    pub fn covers(&self, names: &Names) -> bool {
        names.addresses.is_subset(&self.addresses) && names.hosts.is_subset(&self.hosts)
    }

    pub(super) fn has_key(&self, key: &str) -> bool {
        let Ok(pair) = KeyPair::from_pem(key) else { return false };
        with(&self.pem, |it| Some(it.public_key().raw == pair.subject_public_key_info())) == Some(true)
    }

    fn is_authority(&self) -> bool {
        with(&self.pem, |it| Some(it.is_ca())) == Some(true)
    }
}

impl Authority {
    /// Takes it out of the contents of a Secret.
    pub fn read(contents: &Contents) -> Result<Self, WrongAuthority> {
        let text = |name| contents.get(name).ok_or(WrongAuthority::Missing(name));
        let key = text(KEY)?;
        let certificate = Certificate::all(text(CERTIFICATE)?).into_iter().next();
        let certificate = certificate.ok_or(WrongAuthority::Missing(CERTIFICATE))?;
        KeyPair::from_pem(key).map_err(|_| WrongAuthority::Missing(KEY))?;
        if !certificate.is_authority() {
            return Err(WrongAuthority::NoAuthority);
        }
        if !certificate.is_signed_by(&certificate) {
            return Err(WrongAuthority::NotARoot);
        }
        if !certificate.has_key(key) {
            return Err(WrongAuthority::OtherKey);
        }
        Ok(Self { certificate, key: key.as_str().into() })
    }
}

fn with<T>(pem: &str, ask: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Option<T> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    ask(&block.parse_x509().ok()?)
}
