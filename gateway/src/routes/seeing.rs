//! How a tenant's Redis and this gateway do: `/health`, `/diag` and `/peers` of a tenant.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use keystead_kv::{Connection, usage::Usage};
use serde_json::{Map, Value, json};

use crate::{
    Gateway,
    auth::{Caller, Onlooker, Scope},
    problem::{Code, Problem},
    query::NoQuery,
    routes::time,
};

/// The sections and fields of `INFO` that are shown, by the names that they get here.
const FIGURES: [(&str, &str, &str); 9] = [
    ("server", "redis_version", "version"),
    ("server", "uptime_in_seconds", "uptime_seconds"),
    ("clients", "connected_clients", "connected_clients"),
    ("memory", "used_memory", "used_memory_bytes"),
    ("memory", "maxmemory", "max_memory_bytes"),
    ("replication", "role", "role"),
    ("replication", "connected_slaves", "connected_replicas"),
    ("stats", "evicted_keys", "evicted_keys"),
    ("stats", "instantaneous_ops_per_sec", "operations_per_second"),
];

/// 503 where the tenant's Redis does not answer; a tenant that sleeps is well, and sleeps on.
#[utoipa::path(
    get,
    path = "/t/{tenant}/health",
    tag = "health",
    operation_id = "tenant_health",
    summary = "Whether the tenant's Redis answers",
    params(
        ("tenant" = String, Path, description = "The tenant", example = "acme"),
    ),
    responses(
        (status = 200, description = "It does, or it sleeps (`status`: `sleeping`)"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:read"]), ("api_key" = ["kv:read"])),
)]
pub(super) async fn health(Onlooker(caller): Onlooker) -> Result<Response, Problem> {
    caller.needs(Scope::KvRead)?;
    if caller.tenant.is_asleep() {
        let body = json!({
            "status": "sleeping",
            "tenant_id": caller.tenant.name(),
            "redis": {"available": false},
        });
        return Ok(Json(body).into_response());
    }
    let (milliseconds, is_up) = ping(&caller).await;
    if !is_up {
        return Err(Problem::new(Code::RedisUnavailable, "the tenant's Redis does not answer"));
    }
    let body = json!({
        "status": "ok",
        "tenant_id": caller.tenant.name(),
        "redis": {"available": true, "latency_ms": milliseconds},
    });
    Ok(Json(body).into_response())
}

async fn ping(caller: &Caller) -> (f64, bool) {
    let started = Instant::now();
    let is_up = caller.tenant.connection().ping().await.is_ok();
    // To the microsecond.
    ((started.elapsed().as_secs_f64() * 1e6).round() / 1e3, is_up)
}

/// Figures for who looks for a fault; no secret, and nothing of another tenant.
#[utoipa::path(
    get,
    path = "/diag",
    tag = "health",
    operation_id = "diag",
    summary = "Figures of the tenant's Redis and of this gateway",
    responses(
        (status = 200, description = "No secret, and nothing of another tenant"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["admin"]), ("api_key" = ["admin"])),
)]
pub(super) async fn diag(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Response, Problem> {
    caller.needs(Scope::Admin)?;
    let connection = caller.tenant.connection();
    let (milliseconds, is_up) = ping(&caller).await;
    let mut redis = Map::from_iter([
        ("available".to_owned(), json!(is_up)),
        ("latency_ms".to_owned(), json!(is_up.then_some(milliseconds))),
        ("breaker".to_owned(), json!(if connection.is_given_up() { "open" } else { "closed" })),
    ]);
    let each = figures(connection).await;
    if connection.has_shards() {
        redis.insert("shards".to_owned(), json!(each));
    } else {
        redis.extend(each.into_iter().flatten());
    }
    let keys = caller.tenant.store().count().await.ok();
    let usage = Usage::last(connection).await.ok().flatten().map(|usage| {
        let mut figures = json!(usage);
        figures["observed_at"] = json!(time(Some(usage.observed_at)));
        figures
    });
    let (in_flight, watchers) = caller.tenant.load();
    let body = json!({
        "tenant_id": caller.tenant.name(),
        "gateway": {
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": gateway.begun.elapsed().as_secs(),
            "draining": gateway.draining.load(Ordering::Relaxed),
            "requests_in_flight": in_flight,
            "watchers": watchers,
        },
        "redis": redis,
        "keys": keys,
        "usage": usage,
    });
    Ok(Json(body).into_response())
}

/// Of each Redis that takes writes.
async fn figures(connection: &Connection) -> Vec<Map<String, Value>> {
    let mut each: Vec<Map<String, Value>> = Vec::new();
    for section in ["server", "clients", "memory", "replication", "stats"] {
        for (place, info) in connection.info(section).await.into_iter().enumerate() {
            if place == each.len() {
                each.push(Map::new());
            }
            each[place].insert("primary".to_owned(), json!(info.primary.as_deref()));
            let Ok(text) = info.text else { continue };
            for (_, field, name) in FIGURES.iter().filter(|(of, _, _)| *of == section) {
                let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                let value = value.map_or(Value::Null, |text| {
                    text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number))
                });
                each[place].insert((*name).to_owned(), value);
            }
        }
    }
    each
}

/// The gateways that share the work, as the name of their Service gives them.
#[utoipa::path(
    get,
    path = "/peers",
    tag = "health",
    operation_id = "peers",
    summary = "The gateways that share the work",
    responses(
        (status = 200, description = "`peers` and `count`"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["admin"]), ("api_key" = ["admin"])),
)]
pub(super) async fn peers(
    State(gateway): State<Arc<Gateway>>,
    Onlooker(caller): Onlooker,
    _: NoQuery,
) -> Result<Response, Problem> {
    caller.needs(Scope::Admin)?;
    let peers = gateway.peers.addresses();
    Ok(Json(json!({"peers": *peers, "count": peers.len()})).into_response())
}
