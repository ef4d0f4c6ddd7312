//! One tenant's operations on its store, counted without a look-up by label.

use std::sync::OnceLock;

use keystead_kv::Replication;
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
    replication: IntCounterVec,
    audit_dropped: IntCounterVec,
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
        let replication = IntCounterVec::new(
            Opts::new(
                "kv_replication_operations_total",
                "Reads that replicas could answer, and writes that members had to confirm",
            ),
            &["tenant", "result"],
        )?;
        let audit_dropped = IntCounterVec::new(
            Opts::new(
                "keystead_audit_dropped_total",
                "Entries of tenants' audit logs that this gateway had no room for",
            ),
            &["tenant"],
        )?;
        registry.register(Box::new(audit_dropped.clone()))?;
        registry.register(Box::new(operations.clone()))?;
        registry.register(Box::new(cache.clone()))?;
        registry.register(Box::new(replication.clone()))?;
        Ok(Self { operations, cache, replication, audit_dropped })
    }
}

/// The labels of a result.
const RESULTS: [&str; 2] = ["ok", "error"];
const CACHE_RESULTS: [&str; 2] = ["hit", "miss"];
const REPLICATION_RESULTS: [&str; 4] =
    ["replica_read", "replica_fallback", "write_confirmed", "write_unconfirmed"];

/// The counters of one tenant; when it goes, its series go.
pub(crate) struct Operations {
    all: IntCounterVec,
    tenant: String,
    counters: [[OnceLock<IntCounter>; 2]; OperationKind::NAMES.len()],
    cache: IntCounterVec,
    cache_counters: [OnceLock<IntCounter>; 2],
    replication: IntCounterVec,
    replication_counters: [OnceLock<IntCounter>; REPLICATION_RESULTS.len()],
    audit_dropped: IntCounterVec,
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
            replication: counters.replication.clone(),
            replication_counters: Default::default(),
            audit_dropped: counters.audit_dropped.clone(),
        }
    }

    /// Counts a read from the gateway's cache, or past it.
    pub(crate) fn count_cache(&self, is_hit: bool) {
        let result = usize::from(!is_hit);
        let labels = [&self.tenant, CACHE_RESULTS[result]];
        self.cache_counters[result].get_or_init(|| self.cache.with_label_values(&labels)).inc();
    }

    /// Counts what happened where the tenant has several Redis.
    pub(crate) fn count_replication(&self, what: Replication) {
        let result = match what {
            Replication::ReplicaRead => 0,
            Replication::ReplicaFallback => 1,
            Replication::WriteConfirmed => 2,
            Replication::WriteUnconfirmed => 3,
        };
        let labels = [self.tenant.as_str(), REPLICATION_RESULTS[result]];
        self.replication_counters[result].get_or_init(|| self.replication.with_label_values(&labels)).inc();
    }

    /// Counts entries of the audit log that are lost here.
    pub(crate) fn count_audit_dropped(&self, entries: u64) {
        self.audit_dropped.with_label_values(&[&self.tenant]).inc_by(entries);
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
        let _ = self.audit_dropped.remove_label_values(&[&self.tenant]);
        for result in CACHE_RESULTS {
            let _ = self.cache.remove_label_values(&[&self.tenant, result]);
        }
        for result in REPLICATION_RESULTS {
            let _ = self.replication.remove_label_values(&[&self.tenant, result]);
        }
    }
}
