//! One tenant's operations on its store, counted without a look-up by label.

use std::sync::OnceLock;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// An operation as `kvstore_operations_total` names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OperationKind {
    Get,
    Put,
    Delete,
    Exists,
    Ttl,
    SetTtl,
    Incr,
    List,
    Count,
    Batch,
}

impl OperationKind {
    const NAMES: [&str; 10] =
        ["get", "put", "delete", "exists", "ttl", "set_ttl", "incr", "list", "count", "batch"];
}

/// The counters of all tenants.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    operations: IntCounterVec,
    cache: IntCounterVec,
}

impl Counters {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let operations = IntCounterVec::new(
            Opts::new("kvstore_operations_total", "Operations on tenants' stores"),
            &["operation", "tenant", "status"],
        )?;
        let cache = IntCounterVec::new(
            Opts::new("kv_cache_operations_total", "Reads of entries by what the gateway's cache had"),
            &["tenant", "result"],
        )?;
        registry.register(Box::new(operations.clone()))?;
        registry.register(Box::new(cache.clone()))?;
        Ok(Self { operations, cache })
    }
}

/// The labels of a result.
const RESULTS: [&str; 2] = ["ok", "error"];
const CACHE_RESULTS: [&str; 2] = ["hit", "miss"];

/// The counters of one tenant; when it goes, its series go.
pub(crate) struct Operations {
    all: IntCounterVec,
    tenant: String,
    counters: [[OnceLock<IntCounter>; 2]; OperationKind::NAMES.len()],
    cache: IntCounterVec,
    cache_counters: [OnceLock<IntCounter>; 2],
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Operations").field(&self.tenant).finish()
    }
}

impl Operations {
    pub(crate) fn new(counters: &Counters, tenant: &str) -> Self {
        Self {
            all: counters.operations.clone(),
            tenant: tenant.to_owned(),
            counters: Default::default(),
            cache: counters.cache.clone(),
            cache_counters: Default::default(),
        }
    }

    /// Counts a read from the gateway's cache, or past it.
    pub(crate) fn count_cache(&self, is_hit: bool) {
        let result = usize::from(!is_hit);
        let labels = [&self.tenant, CACHE_RESULTS[result]];
        self.cache_counters[result].get_or_init(|| self.cache.with_label_values(&labels)).inc();
    }

    pub(crate) fn count(&self, operation: OperationKind, is_ok: bool) {
        let (operation, result) = (operation as usize, usize::from(!is_ok));
        let labels = [OperationKind::NAMES[operation], &self.tenant, RESULTS[result]];
        self.counters[operation][result].get_or_init(|| self.all.with_label_values(&labels)).inc();
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        for operation in OperationKind::NAMES {
            for result in RESULTS {
                // It may never have been counted.
                let _ = self.all.remove_label_values(&[operation, &self.tenant, result]);
            }
        }
        for result in CACHE_RESULTS {
            let _ = self.cache.remove_label_values(&[&self.tenant, result]);
        }
    }
}
