//! The way to a Loki: its push API, <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>.

use std::{fs, path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode, Uri, header, http::HeaderValue};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use keystead_kv::audit::AuditEntry;
use keystead_route::TenantName;
use serde_json::{Value, json};

use crate::outside::{tls, with_causes};

/// Of one push.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of a refusal.
const MAX_REASON: usize = 4096;
const PUSH: &str = "/loki/api/v1/push";

/// Where the audit log is sent.
#[derive(Debug, Args)]
pub(crate) struct LokiArguments {
    /// Loki to which the audit log is sent, such as <http://loki:3100>; it is not sent when left out.
    #[arg(long = "loki-url", env = "KEYSTEAD_LOKI_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Whose logs they are in a Loki of several: the header `X-Scope-OrgID`.
    #[arg(long = "loki-org", env = "KEYSTEAD_LOKI_ORG", value_name = "ID", requires = "url")]
    org: Option<String>,
    /// User for a Loki that asks for one (HTTP Basic).
    #[arg(
        long = "loki-username",
        env = "KEYSTEAD_LOKI_USERNAME",
        value_name = "NAME",
        requires = "password_file"
    )]
    username: Option<String>,
    /// File with the user's password; without a user, with a bearer token.
    #[arg(
        long = "loki-password-file",
        env = "KEYSTEAD_LOKI_PASSWORD_FILE",
        value_name = "FILE",
        requires = "url"
    )]
    password_file: Option<PathBuf>,
    /// Certificates of authorities, as PEM, that are trusted for Loki beside the public ones.
    #[arg(long = "loki-ca-file", env = "KEYSTEAD_LOKI_CA_FILE", value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
}

/// Why entries were not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("Loki does not answer ({0})")]
    Unreachable(String),
    #[error("Loki has not answered within {TIMEOUT:?}")]
    TooSlow,
    #[error("Loki takes less at a time")]
    TooFast,
    /// It will never take them.
    #[error("Loki refuses them: {0}")]
    Refused(String),
    #[error("Loki answers {0}: {1}")]
    Status(StatusCode, String),
}

/// A Loki, and what it is told of whom the entries are.
#[derive(Debug)]
pub(crate) struct Loki {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    org: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
    tenant: TenantName,
}

impl Loki {
    /// None where no address is given; else it, or what is wrong.
    pub(crate) fn new(arguments: &LokiArguments, tenant: &TenantName) -> Result<Option<Self>, String> {
        let Some(url) = &arguments.url else { return Ok(None) };
        let wrong = || format!("--loki-url {url:?}: write an address such as http://loki:3100");
        let uri: Uri = format!("{}{PUSH}", url.trim_end_matches('/')).parse().map_err(|_| wrong())?;
        let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !is_plain || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong());
        }
        let org = arguments.org.as_deref().map(HeaderValue::from_str).transpose();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls("--loki-ca-file", arguments.ca_file.as_deref())?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Some(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            uri,
            org: org.map_err(|_| "--loki-org: printable ASCII characters".to_owned())?,
            authorization: authorization(arguments)?,
            tenant: tenant.clone(),
        }))
    }

    /// Sends entries. Their times are those of their ids, so that their order is kept.
    pub(crate) async fn push(&self, entries: &[AuditEntry]) -> Result<(), PushError> {
        let body = document(&self.tenant, entries).to_string();
        let mut request = Request::post(self.uri.clone()).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in [("x-scope-orgid", &self.org), ("authorization", &self.authorization)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let unreachable = |error: &dyn std::error::Error| PushError::Unreachable(with_causes(error));
        let request = request.body(Full::from(body)).map_err(|error| unreachable(&error))?;
        let pushed = async {
            let answer = self.client.request(request).await.map_err(|error| unreachable(&error))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            let reason = Limited::new(answer.into_body(), MAX_REASON).collect().await;
            let reason = reason.map(|reason| String::from_utf8_lossy(&reason.to_bytes()).trim().to_owned());
            let reason = reason.unwrap_or_default();
            Err(match status {
                StatusCode::BAD_REQUEST => PushError::Refused(reason),
                StatusCode::TOO_MANY_REQUESTS => PushError::TooFast,
                status => PushError::Status(status, reason),
            })
        };
        tokio::time::timeout(TIMEOUT, pushed).await.unwrap_or(Err(PushError::TooSlow))
    }
}

/// One stream for each tenant; what else is known stands in the line, as labels are to have few values.
fn document(tenant: &TenantName, entries: &[AuditEntry]) -> Value {
    let line = |entry: &AuditEntry| {
        let nanoseconds = u128::from(entry.id.milliseconds()) * 1_000_000 + u128::from(entry.id.sequence());
        // Strings and numbers: this cannot fail.
        [nanoseconds.to_string(), serde_json::to_string(entry).unwrap_or_default()]
    };
    let values: Vec<[String; 2]> = entries.iter().map(line).collect();
    json!({"streams": [{"stream": {"job": "keystead-audit", "tenant": tenant}, "values": values}]})
}

fn authorization(arguments: &LokiArguments) -> Result<Option<HeaderValue>, String> {
    let Some(path) = &arguments.password_file else { return Ok(None) };
    let wrong = |why: &dyn std::fmt::Display| format!("--loki-password-file {}: {why}", path.display());
    let secret = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let secret = secret.trim_end_matches('\n');
    let text = match &arguments.username {
        Some(user) => format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{secret}"))),
        None => format!("Bearer {secret}"),
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| wrong(&"printable ASCII characters"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        loki: LokiArguments,
    }

    fn arguments(given: &[&str]) -> LokiArguments {
        let all = ["worker"].iter().chain(given);
        Only::from_arg_matches(&Only::command().get_matches_from(all)).unwrap().loki
    }

    fn made(given: &[&str]) -> Result<Option<Loki>, String> {
        Loki::new(&arguments(given), &"acme".parse().unwrap())
    }

    #[test]
    fn an_address_is_that_of_a_loki_or_refused() {
        assert!(made(&[]).unwrap().is_none());
        for (given, expected) in [
            ("http://loki:3100", "http://loki:3100/loki/api/v1/push"),
            ("https://logs.example.com/a/", "https://logs.example.com/a/loki/api/v1/push"),
        ] {
            assert_eq!(made(&["--loki-url", given]).unwrap().unwrap().uri, expected);
        }
        for wrong in ["loki:3100", "ftp://loki", "http://ada:word@loki", ""] {
            let error = made(&["--loki-url", wrong]).unwrap_err();
            assert!(error.contains("write an address such as http://loki:3100"), "{error}");
        }
        let file = ["--loki-url", "http://loki", "--loki-ca-file", "none.pem"];
        assert!(made(&file).unwrap_err().starts_with("--loki-ca-file none.pem: "));
    }

    #[test]
    fn a_password_is_sent_with_its_user_or_as_a_token_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "secret-word\n").unwrap();
        let given = ["--loki-url", "http://loki", "--loki-password-file", file.to_str().unwrap()];
        let loki = made(&given).unwrap().unwrap();
        assert_eq!(loki.authorization.as_ref().unwrap(), "Bearer secret-word");
        assert!(!format!("{loki:?}").contains("secret-word"));
        let loki = made(&[&given[..], &["--loki-username", "ada"]].concat()).unwrap().unwrap();
        // RFC 7617: base64 of `ada:secret-word`.
        assert_eq!(loki.authorization.unwrap(), "Basic YWRhOnNlY3JldC13b3Jk");
    }
}
