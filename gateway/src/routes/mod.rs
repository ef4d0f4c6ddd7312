//! The paths, both forms of each: `/api/v1/…` by token alone, and `/t/{tenant}/api/v1/…`.

mod auth;
mod body;
mod health;
mod jobs;
mod kv;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};

use crate::{Gateway, finish::finish};

fn key_methods() -> MethodRouter<Arc<Gateway>> {
    get(kv::read).put(kv::write).patch(kv::patch).delete(kv::remove)
}

/// The REST API.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let api: Vec<(&str, MethodRouter<Arc<Gateway>>)> = vec![
        ("/auth/register", post(auth::register)),
        ("/auth/login", post(auth::login)),
        ("/auth/refresh", post(auth::refresh)),
        ("/auth/logout", post(auth::logout)),
        ("/auth/me", get(auth::me)),
        ("/kv", get(kv::list).post(kv::create)),
        ("/kv/stats/count", get(kv::count)),
        // No path hides a key: `batch` is one too.
        ("/kv/batch", key_methods().post(kv::batch)),
        ("/kv/{key}", key_methods()),
        ("/kv/{key}/exists", get(kv::exists)),
        ("/kv/{key}/incr", post(kv::increment)),
        ("/kv/{key}/ttl", get(kv::ttl::read).put(kv::ttl::write).delete(kv::ttl::remove)),
        ("/jobs", get(jobs::list).post(jobs::create)),
        ("/jobs/{id}", get(jobs::read).delete(jobs::cancel)),
        ("/jobs/{id}/result", get(jobs::result)),
        ("/jobs/{id}/retry", post(jobs::retry)),
    ];
    let mut router = Router::new()
        .route("/health", get(health::live))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/api/v1/health", get(health::ready))
        .route("/api/v1/health/live", get(health::live))
        .route("/api/v1/health/ready", get(health::ready));
    for (path, methods) in api {
        router = router
            .route(&format!("/api/v1{path}"), methods.clone())
            .route(&format!("/t/{{tenant}}/api/v1{path}"), methods);
    }
    router
        .fallback(async || axum::http::StatusCode::NOT_FOUND)
        .layer(middleware::from_fn_with_state(gateway.clone(), finish))
        .with_state(gateway)
}
