//! The route table: a map that is swapped as a whole, so that a request takes no lock.

mod folder;
mod limiter;
mod rates;
mod room;
mod secrets;
mod tenant;
mod user_limiter;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use keystead_route::Route;
use tokio::sync::watch;

use crate::{Gateway, issuers::Issuers, telemetry::Counters};
pub(crate) use limiter::{Allowance, Limiter, write_to as write_allowances};
pub(crate) use room::{LARGE, Room};
pub(crate) use tenant::{Keys, MAX_BODIES, Tenant, VerifyingKey};

/// Where routes come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// `<tenant>.json` in a folder.
    Folder(PathBuf),
    /// Secrets of a namespace.
    Secrets { namespace: String },
}

/// The tenants that are served.
#[derive(Debug)]
pub struct Table {
    tenants: ArcSwap<HashMap<String, Arc<Tenant>, RandomState>>,
    loaded: AtomicBool,
    operations: Counters,
    issuers: Issuers,
    /// Threads that serve.
    lanes: usize,
    /// Told of each change.
    changed: watch::Sender<()>,
}

impl Table {
    /// An empty one; its tenants count their operations here, and have the keys of other issuers from there.
    pub(crate) fn new(operations: Counters, issuers: Issuers, lanes: usize) -> Self {
        Self {
            lanes,
            tenants: ArcSwap::default(),
            loaded: AtomicBool::new(false),
            operations,
            issuers,
            changed: watch::Sender::default(),
        }
    }

    /// Tells of each change of the table.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn get(&self, tenant: &str) -> Option<Arc<Tenant>> {
        self.tenants.load().get(tenant).cloned()
    }

    /// Whether the routes have been read once.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    pub(crate) fn len(&self) -> usize {
        self.tenants.load().len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Tenant>> {
        self.tenants.load().values().cloned().collect()
    }

    /// Closes, for ever, connections to Redis that nobody has used for so long.
    pub async fn close_idle(&self, after: Duration) {
        loop {
            tokio::time::sleep(after).await;
            let tenants = self.tenants.load_full();
            let closed = tenants.values().filter(|tenant| tenant.connection().close_idle()).count();
            if closed > 0 {
                tracing::debug!(closed, "idle connections to Redis are closed");
            }
        }
    }

    /// Writes what waits for tenants' audit logs, as far as that works within this time.
    pub async fn end_audits(&self, within: Duration) {
        let tenants = self.tenants.load_full();
        let ended = tenants.values().filter_map(|tenant| tenant.trail()).map(|trail| trail.end());
        let _ = tokio::time::timeout(within, futures::future::join_all(ended)).await;
    }

    /// Takes these routes for all that there are. A tenant that did not change stays as it is; one whose Redis did not
    /// change keeps its connection. Called by one task only.
    pub(crate) fn replace(&self, routes: impl IntoIterator<Item = Arc<Route>>) {
        let old = self.tenants.load();
        let mut new = HashMap::default();
        for route in routes {
            let name = route.tenant.to_string();
            match Tenant::from_route(route, old.get(&name), &self.operations, &self.issuers, self.lanes) {
                Ok(tenant) => {
                    new.insert(name, tenant);
                }
                Err(error) => {
                    tracing::error!(tenant = name, %error, "a route cannot be used; the last good one is kept");
                    if let Some(tenant) = old.get(&name) {
                        new.insert(name, tenant.clone());
                    }
                }
            }
        }
        let same = old.len() == new.len()
            && new.iter().all(|(name, tenant)| old.get(name).is_some_and(|old| Arc::ptr_eq(old, tenant)));
        if !same {
            tracing::info!(tenants = new.len(), "the route table has changed");
            self.tenants.store(Arc::new(new));
            self.changed.send_replace(());
        }
        self.loaded.store(true, Ordering::Release);
    }
}

/// Follows the source for ever.
pub async fn follow(source: Source, gateway: Arc<Gateway>) {
    match source {
        Source::Folder(folder) => folder::follow(&folder, &gateway).await,
        Source::Secrets { namespace } => secrets::follow(&namespace, &gateway).await,
    }
}

fn update(gateway: &Gateway, routes: impl IntoIterator<Item = Arc<Route>>) {
    gateway.table.replace(routes);
    gateway.metrics.tenants.set(i64::try_from(gateway.table.len()).unwrap_or(i64::MAX));
    let asleep = gateway.table.all().iter().filter(|tenant| tenant.is_asleep()).count();
    gateway.metrics.asleep.set(i64::try_from(asleep).unwrap_or(i64::MAX));
}
