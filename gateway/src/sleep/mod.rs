//! Tenants that sleep: who wants something of one has it woken and waits, within bounds, until it answers.
//!
//! The route says who sleeps; the operator puts to sleep and wakes. A request touches no Kubernetes: it tells the `caller`
//! that the tenant is wanted. What is used of a tenant that may sleep is noted in its Redis beside the requests (`used`).

mod caller;
mod used;

use std::{sync::Arc, time::Duration};

use keystead_kv::api_keys::ApiKey;
use keystead_route::{ApiKeyText, TenantName};
use quick_cache::sync::Cache;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Gateway,
    config::Arguments,
    problem::{Code, Problem},
    tenants::Tenant,
};
use caller::Caller;
pub(crate) use used::Used;
pub use used::{note, note_last};

/// Calls that wait to be made; more are made by who still waits then.
const MAX_CALLS: usize = 1024;
/// Between two calls of one tenant in one gateway, while somebody waits.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks whether a Redis that was just started answers.
const LOOK: Duration = Duration::from_millis(50);
/// Seconds after which who was not waited for may ask again: by then most tenants are awake.
const RETRY_AFTER: u64 = 2;
/// API keys that are remembered of tenants that may sleep: those that were used last.
const REMEMBERED_KEYS: usize = 20_000;

/// Whether who wants a tenant has shown that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By a signature, or a secret whose hash is known here.
    Shown,
    /// Only the tenant's Redis can tell. How often such a one wakes a tenant for nothing, the operator bounds.
    Owed,
}

/// A tenant that is wanted.
struct Call {
    tenant: TenantName,
    proof: Proof,
}

/// What requests need for tenants that sleep.
pub(crate) struct Sleepers {
    calls: mpsc::Sender<Call>,
    wait: Duration,
    keys: Cache<String, Arc<ApiKey>>,
}

impl std::fmt::Debug for Sleepers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sleepers").field("wait", &self.wait).finish_non_exhaustive()
    }
}

impl Sleepers {
    /// Begins to make calls, on this runtime.
    pub(crate) fn start(arguments: &Arguments) -> Self {
        let (calls, received) = mpsc::channel(MAX_CALLS);
        tokio::spawn(Caller::new(arguments.source()).run(received));
        let wait = Duration::from_secs(arguments.wake_wait);
        Self { calls, wait, keys: Cache::new(REMEMBERED_KEYS) }
    }

    /// The tenant as it is once it is awake and its Redis answers; at once where it does not sleep.
    pub(crate) async fn awake(
        &self,
        gateway: &Gateway,
        tenant: Arc<Tenant>,
        proof: Proof,
    ) -> Result<Arc<Tenant>, Problem> {
        if tenant.is_asleep() {
            // On the heap: what is rarely needed must not make every request's future larger.
            Box::pin(self.wake(gateway, tenant, proof)).await
        } else {
            Ok(tenant)
        }
    }

    async fn wake(
        &self,
        gateway: &Gateway,
        tenant: Arc<Tenant>,
        proof: Proof,
    ) -> Result<Arc<Tenant>, Problem> {
        let until = Instant::now() + self.wait;
        let name = tenant.name().clone();
        let mut changes = gateway.table.changes();
        let awake = async {
            loop {
                let now = gateway.table.get(name.as_str()).ok_or_else(gone)?;
                if now.is_suspended() {
                    return now.hold().map(|_| now.clone());
                }
                if now.is_asleep() {
                    if now.used().may_call(proof, AGAIN) {
                        // Where there are too many, who waits still calls again.
                        let _ = self.calls.try_send(Call { tenant: name.clone(), proof });
                    }
                    // The sender lives as long as the table does.
                    let _ = timeout_at(Instant::now() + AGAIN, changes.changed()).await;
                } else if now.connection().ping().await.is_ok() {
                    return Ok(now);
                } else {
                    sleep(LOOK).await;
                }
            }
        };
        timeout_at(until, awake).await.unwrap_or_else(|_| Err(waking()))
    }

    /// Remembers a key that Redis knows, for when it sleeps.
    pub(crate) fn remember(&self, tenant: &Tenant, key: &Arc<ApiKey>) {
        if tenant.may_sleep() {
            let name = place(tenant, &key.id);
            if self.keys.get(&name).is_none_or(|known| !Arc::ptr_eq(&known, key)) {
                self.keys.insert(name, key.clone());
            }
        }
    }

    /// The key as this gateway has seen it last: while its tenant sleeps nobody can revoke it.
    pub(crate) fn known(&self, tenant: &Tenant, text: &ApiKeyText<'_>) -> Option<Arc<ApiKey>> {
        self.keys.get(&place(tenant, text.id)).filter(|key| key.accepts(text))
    }
}

fn place(tenant: &Tenant, id: &str) -> String {
    format!("{}/{id}", tenant.name())
}

fn gone() -> Problem {
    Problem::new(Code::TenantUnknown, "the tenant is not served here any more")
}

/// The tenant is not awake yet.
pub(crate) fn waking() -> Problem {
    let detail = "the tenant was asleep and is being woken: nothing was done, retry in a moment";
    Problem::new(Code::TenantWaking, detail).retry_after(RETRY_AFTER)
}
