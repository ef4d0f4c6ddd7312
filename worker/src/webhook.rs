//! The way of a webhook to its target: the address that was looked at is the one that is connected to. It follows no redirect,
//! and signs as <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md> says.

use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use keystead_kv::queue::Webhook;
use keystead_route::{Permit, Refusal, WebhookUrl, Webhooks};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::outside::{tls, with_causes};

/// What is kept of an answer, in bytes.
const KEPT: usize = 1024;
/// How long the first addresses of a host may take to be connected to.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// Begins a secret: then 24 to 64 bytes in base64.
const SECRET_PREFIX: &str = "whsec_";

/// Where webhooks may go, and what they are signed with.
#[derive(Debug, Args)]
pub(crate) struct WebhookArguments {
    /// Where webhooks may go: a JSON list, as the route has it.
    #[arg(long, env = "KEYSTEAD_WEBHOOKS", value_name = "JSON", default_value = "[]")]
    webhooks: Webhooks,
    /// Folder with the secrets that webhooks are signed with, one a file: each request has a signature of each.
    #[arg(long, env = "KEYSTEAD_WEBHOOK_SECRETS", value_name = "DIR")]
    webhook_secrets: Option<PathBuf>,
    /// Certificates of authorities, as PEM, that are trusted for webhooks beside the public ones.
    #[arg(long, env = "KEYSTEAD_WEBHOOK_CA_FILE", value_name = "FILE")]
    webhook_ca_file: Option<PathBuf>,
    /// Seconds that a target has for its answer.
    #[arg(long, env = "KEYSTEAD_WEBHOOK_TIMEOUT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    webhook_timeout: u64,
}

/// Why there is no answer. No path is told, which may hold a secret, and no address: it may be of a network that the asker is not to
/// look into.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0} has not answered within {1} s")]
    TooSlow(String, u64),
    #[error("{0} does not answer ({1})")]
    Unreachable(String, String),
}

/// What a target has said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Its beginning.
    pub(crate) body: String,
    /// When it wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

/// Sends webhooks.
pub(crate) struct Sender {
    targets: Webhooks,
    keys: Vec<hmac::Key>,
    tls: TlsConnector,
    timeout: u64,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sender").field("targets", &self.targets).finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) fn new(arguments: &WebhookArguments) -> Result<Self, String> {
        let keys = arguments.webhook_secrets.as_deref().map(keys).transpose()?.unwrap_or_default();
        if keys.is_empty() && !arguments.webhooks.is_empty() {
            return Err("--webhook-secrets: name a folder with a secret, as --webhooks names targets".into());
        }
        let tls = tls("--webhook-ca-file", arguments.webhook_ca_file.as_deref())?;
        Ok(Self {
            targets: arguments.webhooks.clone(),
            keys,
            tls: TlsConnector::from(Arc::new(tls)),
            timeout: arguments.webhook_timeout,
        })
    }

    /// Sends it, under an id that is the same at each attempt.
    pub(crate) async fn send(&self, id: &str, webhook: &Webhook) -> Result<Answer, SendError> {
        let url = &webhook.url;
        let permit = self.targets.permit(url)?;
        let unreachable = |why: String| SendError::Unreachable(url.origin(), why);
        let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs());
        let request = self.request(id, seconds, webhook).map_err(|error| unreachable(error.to_string()))?;
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        // Ends with this function, also where nobody waits for the answer any more.
        let mut connection = JoinSet::new();
        let answered = async {
            let stream = connect(url, &permit).await?;
            let answer = if url.is_https {
                let name = ServerName::try_from(url.host.clone());
                let name = name.map_err(|error| unreachable(error.to_string()))?;
                let stream = self.tls.connect(name, stream).await;
                let stream = stream.map_err(|error| unreachable(with_causes(&error)))?;
                exchange(stream, request, &mut connection).await
            } else {
                exchange(stream, request, &mut connection).await
            };
            answer.map_err(|error| unreachable(with_causes(&error)))
        };
        let answer = timeout_at(deadline, answered).await;
        let answer = answer.map_err(|_| SendError::TooSlow(url.origin(), self.timeout))??;
        let retry_after = answer.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Ok(Answer {
            status: answer.status(),
            retry_after: retry_after.map(Duration::from_secs),
            body: beginning(answer.into_body(), deadline).await,
        })
    }

    fn request(
        &self,
        id: &str,
        seconds: u64,
        webhook: &Webhook,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(webhook.method.as_str())
            .uri(&webhook.url.path)
            .header(header::HOST, webhook.url.authority())
            .header(header::USER_AGENT, "keystead")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", self.signatures(id, seconds, &webhook.body));
        for (name, value) in &webhook.headers {
            request = request.header(name, value);
        }
        request.body(Full::from(webhook.body.clone()))
    }

    fn signatures(&self, id: &str, seconds: u64, body: &str) -> String {
        let signed = format!("{id}.{seconds}.{body}");
        let signature =
            |key| format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(key, signed.as_bytes()).as_ref()));
        self.keys.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

/// Connects to the first that takes the connection of the host's addresses to which it may lead.
async fn connect(url: &WebhookUrl, permit: &Permit<'_>) -> Result<TcpStream, SendError> {
    let unreachable = |error: std::io::Error| SendError::Unreachable(url.origin(), error.to_string());
    let found = lookup_host((url.host.as_str(), url.port)).await.map_err(unreachable)?;
    let allowed: Vec<SocketAddr> = found.filter(|address| permit.may_lead_to(address.ip())).collect();
    let mut last = SendError::Refused(Refusal::Address(url.origin()));
    for (index, &address) in allowed.iter().enumerate() {
        // One that does not answer leaves time for the others; the last has what is left.
        let limit = if index + 1 < allowed.len() { CONNECTED_WITHIN } else { Duration::MAX };
        let connected = timeout(limit, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = unreachable(error),
        }
    }
    Err(last)
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    connection: &mut JoinSet<()>,
) -> Result<Response<Incoming>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    connection.spawn(async {
        // What ends it, whoever waits for the answer is told too.
        let _ = driver.await;
    });
    sender.send_request(request).await
}

/// What has come of a body until there is enough of it, or no time any more.
async fn beginning(mut body: Incoming, deadline: Instant) -> String {
    let mut read = Vec::new();
    while read.len() < KEPT {
        let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await else { break };
        read.extend(frame.into_data().unwrap_or_default());
    }
    read.truncate(KEPT);
    String::from_utf8_lossy(&read).into_owned()
}

/// The secrets of a folder, in the order of their files' names.
fn keys(folder: &Path) -> Result<Vec<hmac::Key>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("--webhook-secrets {}: {why}", folder.display());
    let mut files = Vec::new();
    for file in fs::read_dir(folder).map_err(|error| wrong(&error))? {
        let file = file.map_err(|error| wrong(&error))?;
        // A mounted Secret has folders of its own, which begin with dots.
        if !file.file_name().to_string_lossy().starts_with('.') {
            files.push(file.path());
        }
    }
    files.sort();
    let key = |file: &PathBuf| {
        let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let bytes = text.trim().strip_prefix(SECRET_PREFIX).and_then(|it| BASE64_STANDARD.decode(it).ok());
        let bytes = bytes.filter(|bytes| (24..=64).contains(&bytes.len()));
        let bytes =
            bytes.ok_or_else(|| wrong(&format!("write {SECRET_PREFIX} and 24 to 64 bytes in base64")))?;
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    };
    files.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(folder: &Path, targets: &str) -> WebhookArguments {
        WebhookArguments {
            webhooks: targets.parse().unwrap(),
            webhook_secrets: Some(folder.to_owned()),
            webhook_ca_file: None,
            webhook_timeout: 10,
        }
    }

    #[test]
    fn a_signature_is_that_of_the_standards_own_example() {
        let folder = tempfile::tempdir().unwrap();
        // Of the documented test vector of Standard Webhooks.
        fs::write(folder.path().join("a"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let sender = Sender::new(&arguments(folder.path(), "[]")).unwrap();
        assert_eq!(
            sender.signatures("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        fs::write(folder.path().join("b"), "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB").unwrap();
        let sender = Sender::new(&arguments(folder.path(), "[]")).unwrap();
        let both =
            sender.signatures("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert!(both.starts_with("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,"), "{both}");
    }

    #[test]
    fn targets_without_a_good_secret_are_refused_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let named = arguments(folder.path(), r#"[{"host":"*","ports":[443]}]"#);
        assert!(Sender::new(&named).unwrap_err().starts_with("--webhook-secrets: name a folder"));
        for wrong in ["", "secret", "whsec_AAAA", "whsec_not base64"] {
            fs::write(folder.path().join("a"), wrong).unwrap();
            let error = Sender::new(&named).unwrap_err();
            assert!(error.ends_with("write whsec_ and 24 to 64 bytes in base64"), "{wrong}: {error}");
            assert!(wrong.is_empty() || !error.contains("AAAA"), "{error}");
        }
    }
}
