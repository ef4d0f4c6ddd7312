//! The way to an issuer's keys: OpenID Connect Discovery 1.0, over TLS only, with bounds on what is waited for and read.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject as _},
    },
};
use serde::Deserialize;

use super::jwk::{InvalidKeySet, KeySet};

/// Of one answer, from the look-up of the name to its last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Of one answer.
const MAX_BYTES: usize = 256 * 1024;
const CONFIGURATION: &str = "/.well-known/openid-configuration";

/// Why issuers cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRoots {
    #[error("--issuer-ca {path}: {source}: give a readable file of certificates as PEM", path = path.display())]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("--issuer-ca {path}: there is no certificate in it: give a file of certificates as PEM", path = path.display())]
    Empty { path: PathBuf },
    #[error("--issuer-ca {path}: {source}: give a file of certificates as PEM", path = path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why there are no keys of an issuer; for the log only, since it tells what can be reached from here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0:?} is not an https URL without a user")]
    Url(String),
    #[error("{url} does not answer: {}", with_causes(source))]
    Unreachable { url: Uri, source: hyper_util::client::legacy::Error },
    #[error("{0} has not answered within {TIMEOUT:?}")]
    TooSlow(Uri),
    #[error("{url} answers {status}")]
    Status { url: Uri, status: StatusCode },
    #[error("{url}: the answer ends early or is longer than {MAX_BYTES} bytes: {source}")]
    Body { url: Uri, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the discovery document is not valid: {0}")]
    Configuration(serde_json::Error),
    #[error("the discovery document names another issuer, {0:?}")]
    OtherIssuer(String),
    #[error(transparent)]
    Keys(#[from] InvalidKeySet),
}

/// hyper's own message says only in which step it failed.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What is read of a discovery document.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

/// Asks issuers. It follows no redirect.
pub(super) struct Fetcher(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Fetcher {
    /// Trusts the public authorities, and those of the file.
    pub(super) fn new(more_roots: Option<&Path>) -> Result<Self, InvalidRoots> {
        // Mozilla's list is linked in: the image has none.
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        if let Some(path) = more_roots {
            for certificate in certificates(path)? {
                let added = roots.add(certificate);
                added.map_err(|source| InvalidRoots::Unusable { path: path.into(), source })?;
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        // Asked every few minutes: a connection that is kept would only be found closed.
        Ok(Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)))
    }

    /// The keys that an issuer has now.
    pub(super) async fn keys(&self, issuer: &str) -> Result<KeySet, Failure> {
        // OpenID Connect Discovery 1.0, section 4: a slash at the end is taken away first.
        let configuration = format!("{}{CONFIGURATION}", issuer.strip_suffix('/').unwrap_or(issuer));
        let document = self.get(&configuration).await?;
        let found: Configuration = serde_json::from_slice(&document).map_err(Failure::Configuration)?;
        if found.issuer != issuer {
            return Err(Failure::OtherIssuer(found.issuer));
        }
        Ok(KeySet::from_json(&self.get(&found.jwks_uri).await?)?)
    }

    async fn get(&self, url: &str) -> Result<Bytes, Failure> {
        let uri = https(url).ok_or_else(|| Failure::Url(url.to_owned()))?;
        let asked = async {
            let request = Request::get(uri.clone()).header(header::ACCEPT, "application/json");
            let request = request.body(Empty::new()).map_err(|_| Failure::Url(url.to_owned()))?;
            let answer = self.0.request(request).await;
            let answer = answer.map_err(|source| Failure::Unreachable { url: uri.clone(), source })?;
            if answer.status() != StatusCode::OK {
                return Err(Failure::Status { url: uri.clone(), status: answer.status() });
            }
            let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
            Ok(body.map_err(|source| Failure::Body { url: uri.clone(), source })?.to_bytes())
        };
        tokio::time::timeout(TIMEOUT, asked).await.map_err(|_| Failure::TooSlow(uri.clone()))?
    }
}

fn https(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (uri.scheme_str() == Some("https") && is_plain).then_some(uri)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidRoots> {
    let unreadable = |source| InvalidRoots::Unreadable { path: path.into(), source };
    let file = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found = file.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if found.is_empty() { Err(InvalidRoots::Empty { path: path.into() }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_https_url_without_a_user_is_asked() {
        assert!(https("https://login.example.com:8443/keys?set=1").is_some());
        for refused in [
            "http://login.example.com/keys",
            "https://ada@login.example.com/",
            "/keys",
            "ftp://a",
            "",
            "https://",
        ] {
            assert!(https(refused).is_none(), "{refused}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused_with_what_to_give() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refused = |path: &Path| Fetcher::new(Some(path)).err().unwrap().to_string();
        assert!(refused(&path).contains("give a readable file of certificates"), "{}", refused(&path));
        std::fs::write(&path, "no certificate\n").unwrap();
        assert!(refused(&path).contains("there is no certificate in it"), "{}", refused(&path));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(refused(&path).contains("give a file of certificates as PEM"), "{}", refused(&path));
        assert!(Fetcher::new(None).is_ok());
    }
}
