//! That the tenant is used, where it sleeps if it is not: noted of each job but those that the worker has by itself.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use keystead_kv::{
    activity::{Activity, NOTED_EVERY},
    queue::kinds::{AUDIT_FLUSH, KV_REENCRYPT, TTL_SWEEP, USAGE_SNAPSHOT},
};

/// Kinds that come of themselves, however idle a tenant is. Who queues one by hand is noted by the gateway.
const OWN: [&str; 4] = [TTL_SWEEP, USAGE_SNAPSHOT, AUDIT_FLUSH, KV_REENCRYPT];

/// What notes it.
#[derive(Debug)]
pub(crate) struct Used {
    /// None: the tenant never sleeps.
    activity: Option<Activity>,
    noted: Mutex<Option<Instant>>,
}

impl Used {
    pub(crate) fn new(activity: Option<Activity>) -> Self {
        Self { activity, noted: Mutex::new(None) }
    }

    /// A job of this kind begins or ends.
    pub(crate) async fn note(&self, kind: &str) {
        let Some(activity) = self.activity.as_ref().filter(|_| !OWN.contains(&kind)) else { return };
        if !self.is_due() {
            return;
        }
        if let Err(error) = activity.note(Duration::ZERO).await {
            tracing::warn!(%error, "that the tenant is used is not noted");
        }
    }

    fn is_due(&self) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = noted.is_none_or(|noted| noted.elapsed() >= NOTED_EVERY);
        if is_due {
            *noted = Some(Instant::now());
        }
        is_due
    }
}
