//! The paths, both forms of each: `/api/v1/…` by token alone, and `/t/{tenant}/api/v1/…`.

mod audit;
mod auth;
mod body;
mod direct;
mod health;
mod jobs;
mod kv;
mod lasting;
mod openapi;
mod schemas;
mod seeing;
mod watch;

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts as _, RawPathParams, Request, rejection::RawPathParamsRejection},
    http::{Method, request::Parts},
    response::Response,
    routing::{MethodRouter, delete, future::RouteFuture, get, post},
};
use futures::future::{BoxFuture, Either};
use jiff::Timestamp;
use tower_service::Service as _;

use crate::{Gateway, finish::Finish};
pub(crate) use {body::parse, kv::key_of, openapi::description};

fn key_methods() -> MethodRouter<Arc<Gateway>> {
    get(kv::read).put(kv::write).patch(kv::patch).delete(kv::remove)
}

/// The API's paths, which stand under both prefixes.
fn api_routes() -> Vec<(&'static str, MethodRouter<Arc<Gateway>>)> {
    vec![
        ("/auth/register", post(auth::register)),
        ("/auth/login", post(auth::login)),
        ("/auth/refresh", post(auth::refresh)),
        ("/auth/logout", post(auth::logout)),
        ("/auth/me", get(auth::me)),
        ("/auth/api-keys", get(auth::list_api_keys).post(auth::create_api_key)),
        ("/auth/api-keys/{id}", delete(auth::revoke_api_key)),
        ("/auth/api-keys/{id}/rotate", post(auth::rotate_api_key)),
        ("/kv", get(kv::list).post(kv::create)),
        ("/kv/stats/count", get(kv::count)),
        // No path hides a key: `batch` is one too.
        ("/kv/batch", key_methods().post(kv::batch)),
        ("/kv/{key}", key_methods()),
        ("/kv/{key}/exists", get(kv::exists)),
        ("/kv/{key}/incr", post(kv::increment)),
        ("/kv/{key}/ttl", get(kv::ttl::read).put(kv::ttl::write).delete(kv::ttl::remove)),
        ("/watch", get(watch::watch)),
        ("/audit", get(audit::read)),
        ("/diag", get(seeing::diag)),
        ("/peers", get(seeing::peers)),
        ("/jobs", get(jobs::list).post(jobs::create)),
        ("/jobs/inputs", post(jobs::create_input)),
        ("/jobs/schedules", get(jobs::schedules::list)),
        (
            "/jobs/schedules/{name}",
            get(jobs::schedules::read).put(jobs::schedules::write).delete(jobs::schedules::remove),
        ),
        ("/jobs/{id}", get(jobs::read).delete(jobs::cancel)),
        ("/jobs/{id}/result", get(jobs::result)),
        ("/jobs/{id}/retry", post(jobs::retry)),
    ]
}

/// Every route by its whole path.
fn routes() -> Vec<(String, MethodRouter<Arc<Gateway>>)> {
    let health = [
        ("/health", get(health::live)),
        ("/health/live", get(health::live)),
        ("/health/ready", get(health::ready)),
        ("/api/v1/health", get(health::ready)),
        ("/api/v1/health/live", get(health::live)),
        ("/api/v1/health/ready", get(health::ready)),
    ];
    let of_tenants = [
        ("/t/{tenant}/health", get(seeing::health)),
        ("/t/{tenant}/api/v1/health", get(seeing::health)),
        ("/t/{tenant}/api/v1/health/live", get(health::live)),
        ("/t/{tenant}/api/v1/health/ready", get(health::ready)),
        ("/t/{tenant}/diag", get(seeing::diag)),
        ("/t/{tenant}/peers", get(seeing::peers)),
    ];
    let health = health.into_iter().chain(of_tenants).map(|(path, methods)| (path.to_owned(), methods));
    let api = api_routes().into_iter().flat_map(|(path, methods)| {
        [(format!("/api/v1{path}"), methods.clone()), (format!("/t/{{tenant}}/api/v1{path}"), methods)]
    });
    health.chain(api).collect()
}

/// The paths of all routes.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    routes().into_iter().map(|(path, _)| path)
}

/// What is served on a listener.
#[derive(Clone, Debug)]
pub struct App {
    router: Router,
    /// Whose keys are read and written without the router.
    keys: Option<Arc<Gateway>>,
}

impl From<Router> for App {
    fn from(router: Router) -> Self {
        Self { router, keys: None }
    }
}

impl App {
    pub(crate) fn answer(&self, request: Request) -> Answer {
        if let Some(gateway) = &self.keys
            && let Some(endpoint) = direct::endpoint(request.method(), request.uri().path())
        {
            return Either::Left(Box::pin(direct::answer(gateway.clone(), request, endpoint)));
        }
        // A router is always ready.
        Either::Right(self.router.clone().call(request))
    }
}

/// Whether a request is answered without the router, which then knows no parameters of its path.
pub(crate) fn is_direct(method: &Method, path: &str) -> bool {
    direct::endpoint(method, path).is_some()
}

pub(crate) type Answer = Either<BoxFuture<'static, Result<Response, Infallible>>, RouteFuture<Infallible>>;

/// The REST API.
pub fn api(gateway: Arc<Gateway>) -> App {
    App { router: router(gateway.clone()), keys: Some(gateway) }
}

fn router(gateway: Arc<Gateway>) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(&path, methods))
        .merge(openapi::router())
        .fallback(async || axum::http::StatusCode::NOT_FOUND)
        .layer(Finish(gateway.clone()))
        .with_state(gateway)
}

/// RFC 3339 in UTC, to the millisecond.
fn time(milliseconds: Option<u64>) -> Option<String> {
    let time = Timestamp::from_millisecond(i64::try_from(milliseconds?).ok()?).ok()?;
    Some(format!("{time:.3}"))
}

/// A parameter of the path, without its percent-encoding; an error where that is no UTF-8.
async fn path_parameter<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<Option<String>, RawPathParamsRejection> {
    let parameters = RawPathParams::from_request_parts(parts, state).await?;
    Ok(parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned()))
}
