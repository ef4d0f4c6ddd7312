//! The floor: the least an axum server can do. It answers every request with the same bytes; no token, no Redis.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use axum::{Router, http::header, response::IntoResponse as _};
use bytes::Bytes;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// File with the body of every answer.
    #[arg(long)]
    body: PathBuf,
    /// Threads of the runtime; as many as there are cores when left out, which is what `#[tokio::main]` gives.
    #[arg(long)]
    threads: Option<usize>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let body = Bytes::from(std::fs::read(&arguments.body).context("reading the body")?);
    let answer = move |_request_body: Bytes| {
        let body = body.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], body).into_response() }
    };
    let router = Router::new().fallback(answer);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = arguments.threads {
        runtime.worker_threads(threads);
    }
    runtime.enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
        // As the gateway: small answers must not wait for an acknowledgement.
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await
    })?;
    Ok(())
}
