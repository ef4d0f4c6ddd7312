//! One tenant's operations on its store, counted without a look-up by label.

use std::sync::OnceLock;

use prometheus::{IntCounter, IntCounterVec};

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

/// The labels of a result.
const RESULTS: [&str; 2] = ["ok", "error"];

/// The counters of one tenant; when it goes, its series go.
pub(crate) struct Operations {
    all: IntCounterVec,
    tenant: String,
    counters: [[OnceLock<IntCounter>; 2]; OperationKind::NAMES.len()],
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Operations").field(&self.tenant).finish()
    }
}

impl Operations {
    pub(crate) fn new(all: IntCounterVec, tenant: &str) -> Self {
        Self { all, tenant: tenant.to_owned(), counters: Default::default() }
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
    }
}
