//! The certificates by which the Redis of a tenant are known. Pure: what is made here, another module puts into Secrets.
//!
//! One authority signs one certificate for all servers of the tenant. When another authority takes its place, first both are
//! trusted; when everybody has learned of that, the certificate is one of the new authority; when every server has that, the
//! former is forgotten. So nobody ever meets a certificate that it has no reason to trust, in whatever order they learn of it.

mod issue;
mod parse;
mod plan;

use std::{collections::BTreeSet, net::IpAddr};

use keystead_route::{SecretText, TenantName};

use super::{credentials::Contents, names};

pub use issue::{NoCertificate, make_authority};
pub use parse::Certificate;
pub use plan::{Change, Order, Situation, next, wants_authority};

/// Annotation of the Secret with the certificate: when the authorities that are trusted, or the certificate, last changed.
pub const CHANGED_ANNOTATION: &str = "keystead.io/tls-changed-at";

/// Names in both Secrets, as cert-manager has them.
pub const CERTIFICATE: &str = "tls.crt";
pub const KEY: &str = "tls.key";
pub const TRUSTED: &str = "ca.crt";

/// Who signs certificates. Shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    pub certificate: Certificate,
    key: SecretText,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Authority until {}", self.certificate.until)
    }
}

/// Why a Secret holds no authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongAuthority {
    #[error("{0} is missing or cannot be read: it takes tls.crt and tls.key, the key pair of a CA as PEM")]
    Missing(&'static str),
    #[error("tls.crt is no certificate of a CA (isCA: true), so nobody would believe what it signs")]
    NoAuthority,
    #[error(
        "tls.crt is not signed by itself: Redis trusts only the root of a chain, so give the key pair of one"
    )]
    NotARoot,
    #[error("tls.key is not the key of tls.crt")]
    OtherKey,
}

/// What the servers of a tenant have: the contents of a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    pub trusted: Vec<Certificate>,
    pub certificate: Certificate,
}

impl Issued {
    /// None where something is missing or cannot be read: it is made anew.
    pub fn read(contents: &Contents) -> Option<Self> {
        let trusted = Certificate::all(contents.get(TRUSTED)?);
        let certificate = Certificate::all(contents.get(CERTIFICATE)?).into_iter().next()?;
        let is_complete = !trusted.is_empty() && certificate.has_key(contents.get(KEY)?);
        is_complete.then_some(Self { trusted, certificate })
    }

    /// The authorities to trust, as PEM.
    pub fn ca(&self) -> String {
        self.trusted.iter().map(|it| it.pem.as_str()).collect()
    }

    fn trusts(&self, authority: &Authority) -> bool {
        self.trusted.contains(&authority.certificate)
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Issued until {} with {} trusted", self.certificate.until, self.trusted.len())
    }
}

/// What a certificate must name: every address and name at which somebody asks a server of the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub addresses: BTreeSet<IpAddr>,
    pub hosts: BTreeSet<String>,
}

impl Names {
    /// Those of these Services, and of a server that is asked in its own pod.
    pub fn of<'a>(tenant: &TenantName, services: impl IntoIterator<Item = &'a str>) -> Self {
        let own = [IpAddr::from([127, 0, 0, 1])];
        let services = services.into_iter().filter_map(|ip| ip.parse().ok());
        Self {
            addresses: services.chain(own).collect(),
            hosts: ["localhost".to_owned(), format!("*.{}.svc", names::namespace(tenant))].into(),
        }
    }
}
