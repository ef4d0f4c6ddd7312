//! A small issuer as a process of its own: discovery and keys over TLS, told over its standard input what to answer.
//!
//! Its program is this test binary, started with nothing but the test [`PROCESS`].

#![allow(unreachable_pub, reason = "a module of one test binary")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, RsaKeySize};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Name of the test that is the issuer's process.
pub const PROCESS: &str = "the_process_of_an_issuer";
pub const CONFIGURATION: &str = "/.well-known/openid-configuration";
pub const KEYS: &str = "/keys";
const FOLDER: &str = "KEYSTEAD_TEST_ISSUER";
/// Before what the process says, among what the test harness says.
const PREFIX: &str = "issuer: ";

/// An authority of the tests, with a certificate for issuers on this machine.
pub struct Authority(TempDir);

impl Authority {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let authority = rcgen::Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(folder.path().join("ca.pem"), own.pem()).unwrap();
        fs::write(folder.path().join("certificate.pem"), certificate.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self(folder)
    }

    /// The file for `--issuer-ca`.
    pub fn file(&self) -> String {
        self.0.path().join("ca.pem").to_str().unwrap().to_owned()
    }
}

/// A key of an issuer.
pub struct Key {
    pub kid: String,
    algorithm: Algorithm,
    pub private: EncodingKey,
    pub jwk: Value,
    pub public: Vec<u8>,
}

impl Key {
    pub fn rs256(kid: &str) -> Self {
        Self::rsa(kid, RsaKeySize::_2048)
    }

    pub fn rsa(kid: &str, size: RsaKeySize) -> Self {
        let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
        let private = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
        let components = aws_lc_rs::rsa::KeyPair::from_pkcs8(pair.serialized_der()).unwrap();
        let public = aws_lc_rs::signature::KeyPair::public_key(&components);
        let n = BASE64_URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = BASE64_URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        let jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "n": n, "e": e});
        Self::new(kid, Algorithm::RS256, private, jwk, pair.public_key_pem().into_bytes())
    }

    pub fn es256(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let private = EncodingKey::from_ec_der(pair.serialized_der());
        // 4, then both coordinates (SEC 1, section 2.3.3).
        let (x, y) = pair.public_key_raw()[1..].split_at(32);
        let [x, y] = [x, y].map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        Self::new(kid, Algorithm::ES256, private, jwk, pair.public_key_raw().to_vec())
    }

    pub fn eddsa(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let private = EncodingKey::from_ed_der(pair.serialized_der());
        let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key_raw());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "x": x});
        Self::new(kid, Algorithm::EdDSA, private, jwk, pair.public_key_raw().to_vec())
    }

    fn new(kid: &str, algorithm: Algorithm, private: EncodingKey, mut jwk: Value, public: Vec<u8>) -> Self {
        jwk["kid"] = json!(kid);
        Self { kid: kid.into(), algorithm, private, jwk, public }
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some(&self.kid), claims)
    }

    pub fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A running issuer, stopped when dropped.
pub struct Issuer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub url: String,
}

impl Issuer {
    /// Starts it with these keys.
    pub fn start(authority: &Authority, keys: &[&Key]) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", PROCESS, "--ignored", "--nocapture"])
            .env(FOLDER, authority.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut issuer = Self { child, input, output, url: String::new() };
        issuer.url = format!("https://127.0.0.1:{}", issuer.said());
        let configuration = issuer.configuration();
        issuer.answer(CONFIGURATION, &json!({"body": configuration.to_string()}));
        issuer.publish(&keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>());
        issuer
    }

    pub fn configuration(&self) -> Value {
        json!({"issuer": self.url, "jwks_uri": format!("{}{KEYS}", self.url)})
    }

    /// Claims that are accepted where the tenant trusts this issuer for `keystead`.
    pub fn claims(&self) -> Value {
        let scope = "kv:read kv:write jobs:read";
        json!({"iss": self.url, "aud": "keystead", "sub": "ada-1", "exp": now() + 600, "scope": scope})
    }

    /// Other keys from now on.
    pub fn publish(&mut self, keys: &[Value]) {
        self.answer(KEYS, &json!({"body": json!({"keys": keys}).to_string()}));
    }

    /// What it answers at a path: `body`, with `status` and `location` where they are given; `hang` in place of an answer.
    pub fn answer(&mut self, path: &str, answer: &Value) {
        self.tell(&json!({path: answer}));
    }

    /// How often a path was asked for.
    pub fn asked(&mut self, path: &str) -> u64 {
        self.tell(&json!({}))[path].as_u64().unwrap_or(0)
    }

    fn tell(&mut self, answers: &Value) -> Value {
        writeln!(self.input, "{answers}").unwrap();
        serde_json::from_str(&self.said()).unwrap()
    }

    fn said(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the issuer's process has ended");
            if let Some(said) = line.strip_prefix(PREFIX) {
                return said.trim().to_owned();
            }
        }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Value>,
    asked: BTreeMap<String, u64>,
}

/// The process: ends with its standard input.
pub fn process() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let certificate = CertificateDer::from_pem_file(folder.join("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (tls, state) = (Arc::new(tls), Arc::new(Mutex::new(State::default())));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    println!("\n{PREFIX}{}", listener.local_addr().unwrap().port());
    let shared = state.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (tls, state) = (tls.clone(), shared.clone());
            // Who breaks off is of no interest.
            thread::spawn(move || serve(stream?, tls, &state));
        }
    });
    for line in std::io::stdin().lines() {
        let answers: BTreeMap<String, Value> = serde_json::from_str(&line.unwrap()).unwrap();
        let mut state = state.lock().unwrap();
        state.answers.extend(answers);
        println!("\n{PREFIX}{}", json!(state.asked));
    }
}

fn serve(stream: TcpStream, tls: Arc<ServerConfig>, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("").to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        *state.asked.entry(path.clone()).or_default() += 1;
        state.answers.get(&path).cloned().unwrap_or(json!({"status": 404}))
    };
    if answer["hang"] == true {
        // Until the other end has had enough.
        stream.read_exact(&mut [0])?;
    }
    let (status, body) = (answer["status"].as_u64().unwrap_or(200), answer["body"].as_str().unwrap_or(""));
    let location = answer["location"].as_str().map(|to| format!("Location: {to}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} It\r\n{location}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
