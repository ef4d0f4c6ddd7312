//! An authority of a test, and certificates of it, as files.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Authority")
    }
}

impl Authority {
    /// One of this name, unlike any other of it.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its certificate and its key, as in a Secret.
    pub fn pair(&self) -> (String, String) {
        (self.0.pem(), self.0.key().serialize_pem())
    }

    /// Writes a certificate for these names and addresses into a folder, as `tls.crt` and `tls.key`, and `ca.crt` with the
    /// certificates of all these authorities.
    pub fn issue(&self, folder: &Path, names: &[&str], trusted: &[&Self]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let trusted: Vec<String> = trusted.iter().map(|it| it.pem()).collect();
        for (name, text) in
            [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem()), ("ca.crt", trusted.concat())]
        {
            // In one step: whoever reads meanwhile finds the old one or the new one.
            let next = folder.join(format!("{name}.next"));
            fs::write(&next, text).expect("writing a certificate");
            fs::rename(next, folder.join(name)).expect("putting it in place");
        }
    }
}
