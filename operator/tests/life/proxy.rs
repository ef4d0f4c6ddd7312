//! Between an operator and the API server: counts what it asks for. One proxy an operator, on loopback.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use kube::Client;
use tokio::net::TcpListener;

use crate::cluster::Shared;

/// A request that went through.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub method: Method,
    pub path: String,
}

impl Asked {
    fn is_watch(&self) -> bool {
        self.path.contains("watch=true")
    }

    fn is_lease(&self) -> bool {
        self.path.contains("/leases")
    }
}

#[derive(Clone)]
struct Handed {
    client: Client,
    asked: Shared<Vec<Asked>>,
    /// Paths that begin so do not exist.
    hidden: Shared<Option<String>>,
}

/// A proxy that counts.
pub struct Proxy {
    pub kubeconfig: PathBuf,
    asked: Shared<Vec<Asked>>,
    hidden: Shared<Option<String>>,
}

impl Proxy {
    pub async fn start(client: Client, folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (asked, hidden): (Shared<Vec<Asked>>, Shared<Option<String>>) = Default::default();
        let state = Handed { client, asked: asked.clone(), hidden: hidden.clone() };
        let router = Router::new().fallback(forward).with_state(state);
        tokio::spawn(async { axum::serve(listener, router).await });
        let kubeconfig = folder.join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        Self { kubeconfig, asked, hidden }
    }

    /// What was asked for since the last call, beside watches and the lease.
    pub fn take(&self) -> Vec<Asked> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.into_iter().filter(|it| !it.is_watch() && !it.is_lease()).collect()
    }

    /// From now on, paths that begin so are answered 404.
    pub fn hide(&self, prefix: &str) {
        *self.hidden.lock().unwrap() = Some(prefix.to_owned());
    }
}

async fn forward(State(handed): State<Handed>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    handed.asked.lock().unwrap().push(Asked { method: parts.method.clone(), path: path.clone() });
    let hidden = handed.hidden.lock().unwrap().clone();
    if hidden.is_some_and(|prefix| path.starts_with(&prefix)) {
        let status =
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#;
        return (StatusCode::NOT_FOUND, [("content-type", "application/json")], status).into_response();
    }
    let body = to_bytes(body, 8 << 20).await.unwrap();
    let mut onward = axum::http::Request::builder().method(parts.method).uri(path);
    for name in ["content-type", "accept"] {
        if let Some(value) = parts.headers.get(name) {
            onward = onward.header(name, value);
        }
    }
    match handed.client.send(onward.body(body.to_vec().into()).unwrap()).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
