//! Routes from Secrets of one namespace, by a watch: the gateway's only contact with Kubernetes, unless it makes tenants
//! (`sign_up`) or has one woken (`sleep`).
//!
//! While the watch is broken the last known routes are served.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use keystead_route::{ROUTE_LABEL, Route, SECRET_KEY};
use kube::{
    Api, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

use super::update;
use crate::{Gateway, kubernetes};

pub(super) async fn follow(namespace: &str, gateway: &Gateway) {
    let secrets: Api<Secret> = Api::namespaced(kubernetes::client().await, namespace);
    let config = watcher::Config::default().labels(&format!("{ROUTE_LABEL}=true"));
    let events = watcher(secrets, config).default_backoff();
    pin_mut!(events);
    let mut routes: HashMap<String, Arc<Route>> = HashMap::new();
    let mut listed: HashMap<String, Arc<Route>> = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(secret)) => {
                let name = secret.name_any();
                if let Some(route) = read(&secret).or_else(|| routes.get(&name).cloned()) {
                    listed.insert(name, route);
                }
            }
            Ok(Event::InitDone) => {
                routes = std::mem::take(&mut listed);
                update(gateway, routes.values().cloned());
            }
            Ok(Event::Apply(secret)) => {
                if let Some(route) = read(&secret) {
                    routes.insert(secret.name_any(), route);
                    update(gateway, routes.values().cloned());
                }
            }
            Ok(Event::Delete(secret)) => {
                routes.remove(&secret.name_any());
                update(gateway, routes.values().cloned());
            }
            Err(error) => tracing::warn!(%error, "the watch of routes broke; the last known ones are served"),
        }
    }
}

/// The Secret's route; none where it is not valid, so that the last good one is kept.
fn read(secret: &Secret) -> Option<Arc<Route>> {
    let document = secret.data.as_ref().and_then(|data| data.get(SECRET_KEY));
    let route = match document {
        Some(document) => Route::from_json(&document.0).map_err(|error| error.to_string()),
        None => Err(format!("the Secret has no key {SECRET_KEY}")),
    };
    route
        .inspect_err(|error| {
            tracing::error!(
                secret = secret.name_any(),
                error,
                "a route is not valid; the last good one is kept"
            );
        })
        .ok()
        .map(Arc::new)
}
