//! TLS of that API: who we are, and that only the front proxy of the API server gets as far as a request.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::front_proxy::FrontProxy;

/// Clocks may be behind by this much.
const SKEW: Duration = Duration::from_hours(1);
const LIFE: Duration = Duration::from_hours(90 * 24);
/// Of our authority: longer than any process.
const AUTHORITY_LIFE: Duration = Duration::from_hours(3650 * 24);
/// Handshakes at the same time, and how long one may take.
const HANDSHAKES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there can be no TLS. It says nothing of keys.
#[derive(Debug, thiserror::Error)]
pub enum NoTls {
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the authority of the API server's front proxy cannot be read: {0}")]
    Authority(String),
    #[error("the settings of TLS do not fit: {0}")]
    Settings(#[from] rustls::Error),
}

/// Who we are: an authority of this process alone, whose key is never written down, and the name that it vouches for.
pub struct Identity {
    authority: CertifiedIssuer<'static, KeyPair>,
    host: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Identity of {}", self.host)
    }
}

impl Identity {
    pub fn new(host: &str) -> Result<Self, NoTls> {
        let mut params = params("keystead external metrics authority", AUTHORITY_LIFE, Timestamp::now());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { authority, host: host.to_owned() })
    }

    /// Whom to trust, as PEM.
    pub fn ca(&self) -> String {
        self.authority.pem()
    }

    fn certificate(&self, now: Timestamp) -> Result<(CertificateDer<'static>, KeyPair), NoTls> {
        let key = KeyPair::generate()?;
        let mut params = params("keystead external metrics", LIFE, now);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(self.host.as_str().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok((params.signed_by(&key, &self.authority)?.der().clone(), key))
    }
}

fn params(name: &str, life: Duration, now: Timestamp) -> CertificateParams {
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - SKEW;
    params.not_after = now + life;
    params
}

/// What a connection is taken with.
pub struct Tls {
    acceptor: TlsAcceptor,
    proxy: FrontProxy,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Tls for {:?}", self.proxy.names)
    }
}

/// A new certificate, shown to who has one of the front proxy.
pub fn tls(identity: &Identity, proxy: &FrontProxy, now: Timestamp) -> Result<Tls, NoTls> {
    let unreadable = |error: String| NoTls::Authority(error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(proxy.ca.as_bytes()) {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| unreadable(error.to_string()))?;
    let (certificate, key) = identity.certificate(now)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key.into())?;
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), proxy: proxy.clone() })
}

/// Serves until it is aborted, each connection with what is current when it comes; none while there is nothing.
pub async fn serve(listener: TcpListener, current: watch::Receiver<Option<Arc<Tls>>>, router: Router) {
    let (taken, accepted) = mpsc::channel(HANDSHAKES);
    let address = listener.local_addr();
    let accepting = accept(listener, current, taken);
    let serving = axum::serve(Accepted { accepted, address }, router);
    let (never, ()) = tokio::join!(serving, accepting);
    if let Err(error) = never {
        tracing::error!(%error, "external metrics are served no more");
    }
}

async fn accept(
    listener: TcpListener,
    current: watch::Receiver<Option<Arc<Tls>>>,
    taken: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    // It is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(tls) = current.borrow().clone() else { continue };
        let taken = taken.clone();
        tokio::spawn(async move {
            match timeout(PATIENCE, tls.acceptor.accept(stream)).await {
                Ok(Ok(stream)) if tls.is_front_proxy(&stream) => drop(taken.send((stream, address)).await),
                Ok(Ok(_)) => tracing::debug!(%address, "refused: the certificate is not the front proxy's"),
                Ok(Err(error)) => tracing::debug!(%address, %error, "refused"),
                Err(_) => tracing::debug!(%address, "refused: no handshake"),
            }
            drop(place);
        });
    }
}

impl Tls {
    fn is_front_proxy(&self, stream: &TlsStream<TcpStream>) -> bool {
        let certificates = stream.get_ref().1.peer_certificates();
        certificates.and_then(<[_]>::first).is_some_and(|own| self.proxy.is_named(own))
    }
}

/// Connections whose handshake is over.
struct Accepted {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: io::Result<SocketAddr>,
}

impl Listener for Accepted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // Only at the end.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }
}
