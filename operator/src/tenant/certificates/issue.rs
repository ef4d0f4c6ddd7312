//! Makes keys and certificates: ECDSA on P-256, which every TLS 1.2 knows.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use keystead_route::TenantName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use super::{Authority, CERTIFICATE, Contents, KEY, Names};

const DAY: Duration = Duration::from_hours(24);
/// Life of an authority of our own.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3650);
/// Life of a certificate.
const LIFE: Duration = DAY.saturating_mul(90);
/// Clocks may be behind by this much.
const SKEW: Duration = Duration::from_hours(1);

/// Why there is no certificate. It says nothing of keys.
#[derive(Debug, thiserror::Error)]
#[error("no certificate could be made: {0}")]
pub struct NoCertificate(#[from] rcgen::Error);

/// A new authority for a tenant, as the contents of a Secret.
pub fn make_authority(tenant: &TenantName, now: Timestamp) -> Result<Contents, NoCertificate> {
    let key = KeyPair::generate()?;
    // Unlike any other before it: by its name those who check look for who has signed.
    let mut params = params(&format!("keystead {tenant} {now}"), now, later(now, AUTHORITY_LIFE));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok([(CERTIFICATE.into(), certificate.pem()), (KEY.into(), key.serialize_pem())].into())
}

/// When a certificate ends that is made now: not after what has signed it.
pub(super) fn end(authority: &Authority, now: Timestamp) -> Timestamp {
    later(now, LIFE).min(authority.certificate.until)
}

/// A new certificate and its key, as PEM.
pub(super) fn issue(
    authority: &Authority,
    names: &Names,
    now: Timestamp,
) -> Result<(String, String), NoCertificate> {
    let key = KeyPair::generate()?;
    let mut params = params("keystead redis", now, end(authority, now));
    params.subject_alt_names = names.addresses.iter().copied().map(SanType::IpAddress).collect();
    for host in &names.hosts {
        params.subject_alt_names.push(SanType::DnsName(host.as_str().try_into()?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A member is a client of the others, too.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let issuer =
        Issuer::from_ca_cert_pem(&authority.certificate.pem, KeyPair::from_pem(authority.key.expose())?)?;
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

fn params(name: &str, now: Timestamp, until: Timestamp) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = at(now) - SKEW;
    params.not_after = at(until);
    params
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(time.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}
