//! What every pass over a tenant shares: the client, the cache, the figures, and what is remembered of each tenant.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keystead_crds::{Tenant, TenantStatus};
use keystead_route::TenantName;
use kube::{
    Client, ResourceExt,
    runtime::events::{Recorder, Reporter},
};

use crate::{
    cache::Cache,
    metrics::Metrics,
    settings::Settings,
    tenant::{
        apply::{ClientHandle, Writer},
        rollout::turns::Turns,
    },
    usage::Readings,
};

/// Shared by all passes.
pub struct Context {
    pub client: ClientHandle,
    pub cache: Arc<Cache>,
    pub settings: Settings,
    pub metrics: Metrics,
    pub recorder: Recorder,
    pub readings: Arc<Readings>,
    memory: Mutex<HashMap<String, Memory>>,
    turns: Mutex<Turns>,
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Context").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Of one tenant.
#[derive(Default)]
struct Memory {
    uid: Option<String>,
    /// The status that was written last: the watch may lag behind.
    status: Option<TenantStatus>,
    /// Passes that failed in a row, of this generation of its spec.
    failures: u32,
    generation: Option<i64>,
}

impl Context {
    pub fn new(client: Client, settings: Settings, metrics: Metrics, identity: &str) -> Self {
        let reporter =
            Reporter { controller: keystead_crds::FIELD_MANAGER.into(), instance: Some(identity.to_owned()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client: ClientHandle(client),
            cache: Arc::default(),
            turns: Mutex::new(Turns::new(settings.max_concurrent_rollouts)),
            settings,
            metrics,
            readings: Arc::default(),
            memory: Mutex::default(),
        }
    }

    pub fn writer<'a>(&'a self, tenant: &'a TenantName) -> Writer<'a> {
        Writer { client: &self.client, cache: &self.cache, metrics: &self.metrics, tenant }
    }

    /// The status as it was written last.
    pub fn status_of(&self, tenant: &Tenant) -> TenantStatus {
        let memory = self.memory();
        let remembered = memory.get(&tenant.name_any()).filter(|it| it.uid == tenant.metadata.uid);
        let status = remembered.and_then(|it| it.status.clone());
        status.or_else(|| tenant.status.clone()).unwrap_or_default()
    }

    pub fn remember(&self, tenant: &Tenant, status: TenantStatus) {
        let mut memory = self.memory();
        let of = memory.entry(tenant.name_any()).or_default();
        of.uid.clone_from(&tenant.metadata.uid);
        of.status = Some(status);
    }

    pub fn forget(&self, tenant: &str) {
        self.memory().remove(tenant);
        self.turns().end(tenant);
    }

    /// Whose Redis is restarted.
    pub fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn succeeded(&self, tenant: &str) {
        if let Some(memory) = self.memory().get_mut(tenant) {
            memory.failures = 0;
        }
    }

    /// Counts a failure; gives how many there were in a row. Another spec begins anew: what was wrong may be mended by it.
    pub fn failed(&self, tenant: &str, generation: Option<i64>) -> u32 {
        let mut memory = self.memory();
        let of = memory.entry(tenant.to_owned()).or_default();
        of.failures = if of.generation == generation { of.failures.saturating_add(1) } else { 1 };
        of.generation = generation;
        of.failures
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
