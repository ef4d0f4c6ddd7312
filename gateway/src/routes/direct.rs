//! Reads and writes of one key, which nearly all requests are, go to their handlers without the router: it, and what it puts around
//! a handler, were a quarter of what a read costs that Redis is not asked for. A request meets the same on both ways.

use std::{convert::Infallible, pin::pin, sync::Arc};

use axum::{
    extract::{FromRequestParts as _, Request},
    http::Method,
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;

use super::kv;
use crate::{
    Gateway,
    finish::{Begun, Endpoint},
    problem::Problem,
};

const OF_CREDENTIAL: &str = "/api/v1/kv/{key}";
const OF_PATH: &str = "/t/{tenant}/api/v1/kv/{key}";

/// The route of a request that is answered here.
pub(super) fn endpoint(method: &Method, path: &str) -> Option<&'static str> {
    if !matches!(*method, Method::GET | Method::PUT) {
        return None;
    }
    let (endpoint, rest) = match path.strip_prefix("/t/") {
        Some(of_tenant) => (OF_PATH, of_tenant.split_once('/').filter(|(tenant, _)| !tenant.is_empty())?.1),
        None => (OF_CREDENTIAL, path.strip_prefix('/')?),
    };
    let key = rest.strip_prefix("api/v1/kv/")?;
    // `batch` is a route of its own as well.
    (!key.is_empty() && key != "batch" && !key.contains('/')).then_some(endpoint)
}

pub(super) async fn answer(
    gateway: Arc<Gateway>,
    mut request: Request,
    endpoint: &'static str,
) -> Result<Response, Infallible> {
    let begun = Begun::new(gateway.clone(), &mut request, Endpoint::Known(endpoint));
    let answer = pin!(handle(gateway, request));
    begun.answered(answer.map(IntoResponse::into_response)).await
}

async fn handle(gateway: Arc<Gateway>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::PUT {
        let keyed = kv::Keyed::from_request_parts(&mut parts, &gateway).await?;
        return kv::write(keyed, parts.headers, body).await;
    }
    let wanted = kv::Wanted::from_request_parts(&mut parts, &gateway).await?;
    // A read has no use for them, and it may take its time.
    drop((parts, body, gateway));
    kv::read(wanted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_one_key_are_answered_without_the_router() {
        for (path, endpoint_of) in [
            ("/api/v1/kv/greeting", Some(OF_CREDENTIAL)),
            ("/api/v1/kv/a%2Fb", Some(OF_CREDENTIAL)),
            ("/api/v1/kv/t", Some(OF_CREDENTIAL)),
            ("/t/acme/api/v1/kv/greeting", Some(OF_PATH)),
            ("/t/kv/api/v1/kv/kv", Some(OF_PATH)),
            ("/api/v1/kv", None),
            ("/api/v1/kv/", None),
            ("/api/v1/kv/batch", None),
            ("/t/acme/api/v1/kv/batch", None),
            ("/api/v1/kv/greeting/", None),
            ("/api/v1/kv/greeting/ttl", None),
            ("/api/v1/kv//ttl", None),
            ("/t//api/v1/kv/greeting", None),
            ("/t/acme/x/api/v1/kv/greeting", None),
            ("//api/v1/kv/greeting", None),
            ("api/v1/kv/greeting", None),
            ("*", None),
        ] {
            for method in [Method::GET, Method::PUT] {
                assert_eq!(endpoint(&method, path), endpoint_of, "{path}");
            }
            assert_eq!(endpoint(&Method::DELETE, path), None, "{path}");
        }
    }

    #[test]
    fn they_are_routes_like_the_others() {
        for endpoint in [OF_CREDENTIAL, OF_PATH] {
            assert!(super::super::paths().any(|path| path == endpoint), "{endpoint}");
        }
    }
}
