//! The External metrics API over real TLS: the API server's front proxy gets its answers, and nobody else gets any.

#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use keystead_operator::{
    external::{FrontProxy, Identity, listen, router, serve, tls},
    usage::{Readings, Usage},
};
use keystead_usage::Jobs;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::TlsConnector;

const HOST: &str = "metrics.front.svc";
const DEPTH: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/tenant-shop/keystead_queue_depth";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate of a client with this name, and its key.
    fn client(&self, name: &str) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }
}

struct Api {
    address: SocketAddr,
    identity: Identity,
    readings: Arc<Readings>,
    current: watch::Sender<Option<Arc<keystead_operator::external::Tls>>>,
}

impl Api {
    async fn start() -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (current, taken) = watch::channel(None);
        let readings = Arc::new(Readings::default());
        tokio::spawn(serve(listener, taken, router(readings.clone())));
        Self { address, identity: Identity::new(HOST).unwrap(), readings, current }
    }

    /// Believes clients of this authority from now on.
    fn believe(&self, authority: &Authority, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let proxy = FrontProxy { ca: authority.0.pem(), names };
        self.current.send_replace(Some(Arc::new(tls(&self.identity, &proxy, Timestamp::now()).unwrap())));
    }

    fn saw(&self, tenant: &str, waiting: u64, running: u64) {
        let jobs = Jobs { waiting, running, ..Jobs::default() };
        let usage = Usage { jobs, ..Usage::default() };
        self.readings.took(tenant, usage, true, (Instant::now(), Timestamp::UNIX_EPOCH));
    }

    /// As a client with this certificate, who trusts what the `APIService` would say.
    async fn get(
        &self,
        client: Option<(CertificateDer<'static>, KeyPair)>,
        path: &str,
    ) -> Result<(u16, Value), std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.identity.ca().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            Some((certificate, key)) => {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der());
                config.with_client_auth_cert(vec![certificate], key.into()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let exchange = async {
            let stream = TcpStream::connect(self.address).await?;
            let host = ServerName::try_from(HOST).unwrap();
            let mut stream = TlsConnector::from(Arc::new(config)).connect(host, stream).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(Duration::from_secs(10), exchange).await.unwrap()?;
        // Whoever is refused after the handshake is not told why.
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::ConnectionAborted)?;
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok((code, serde_json::from_str(body).unwrap()))
    }
}

#[tokio::test]
async fn the_front_proxy_is_told_how_many_jobs_a_tenant_has() {
    let api = Api::start().await;
    let authority = Authority::new("front proxy");
    api.believe(&authority, &["front-proxy-client"]);
    let get = async |path: &str| api.get(Some(authority.client("front-proxy-client")), path).await.unwrap();

    let (code, resources) = get("/apis/external.metrics.k8s.io/v1beta1").await;
    assert_eq!((code, &resources["resources"][0]["name"]), (200, &json!("keystead_queue_depth")));
    let (code, unknown) = get(&format!("{DEPTH}?labelSelector=tenant%3Dshop")).await;
    assert_eq!((code, &unknown["kind"], &unknown["reason"]), (404, &json!("Status"), &json!("NotFound")));

    api.saw("shop", 200, 3);
    api.saw("bank", 9, 0);
    let (code, list) = get(&format!("{DEPTH}?labelSelector=tenant%3Dshop")).await;
    assert_eq!(code, 200, "{list}");
    assert_eq!(
        list,
        json!({
            "kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {},
            "items": [{
                "metricName": "keystead_queue_depth", "metricLabels": { "tenant": "shop" },
                "timestamp": "1970-01-01T00:00:00Z", "value": "203",
            }],
        })
    );
    let (_, others) = get(&format!("{DEPTH}?labelSelector=tenant%3Dbank")).await;
    assert_eq!(others["items"], json!([]), "a namespace is told only of its own tenant");
    let (code, said) = get(&format!("{DEPTH}?labelSelector=tenant%20in%20(shop)")).await;
    assert_eq!(code, 400, "{said}");
    assert_eq!(get(&DEPTH.replace("_depth", "_length")).await.0, 404);
    assert_eq!(get("/metrics").await.0, 404);
}

#[tokio::test]
async fn nobody_else_is_answered() {
    let api = Api::start().await;
    let (authority, other) = (Authority::new("front proxy"), Authority::new("front proxy"));
    assert!(api.get(None, DEPTH).await.is_err(), "nothing is known of the front proxy yet");
    api.believe(&authority, &["front-proxy-client"]);
    for (who, client) in [
        ("without a certificate", None),
        ("with a certificate of somebody else", Some(other.client("front-proxy-client"))),
        ("with another name", Some(authority.client("kubelet"))),
    ] {
        let said = api.get(client, DEPTH).await;
        assert!(said.is_err(), "{who}: {said:?}");
    }
    // Another authority takes its place, as the API server's certificates are replaced.
    api.believe(&other, &[]);
    assert!(api.get(Some(other.client("any")), DEPTH).await.is_ok());
    assert!(api.get(Some(authority.client("front-proxy-client")), DEPTH).await.is_err());
}
