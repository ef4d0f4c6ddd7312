//! Connections by TLS of the tests to Redis, as a gateway has them.
#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    collections::BTreeMap,
    fs, io,
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

/// Whom to trust at which address.
static TRUSTED: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

pub(crate) fn trust(address: &str, file: &Path) {
    TRUSTED.lock().unwrap().insert(address.to_owned(), file.to_owned());
}

pub(crate) fn trusted(address: &str) -> Option<PathBuf> {
    TRUSTED.lock().unwrap().get(address).cloned()
}

/// As a gateway does: with the authorities of now, and only if the certificate names the address.
pub(crate) fn secure(
    stream: TcpStream,
    address: &str,
    trusted: &Path,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&fs::read(trusted)?) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(address.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}
