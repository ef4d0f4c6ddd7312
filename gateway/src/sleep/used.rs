//! When a tenant that may sleep was used last: kept in memory for each request, and noted in its Redis at most once a minute.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use keystead_kv::activity::{Activity, NOTED_EVERY};
use tokio::time::{timeout, timeout_at};

use super::Proof;
use crate::{Gateway, tenants::Tenant};

/// Notes under way at once: each is one small write to another Redis.
const AT_ONCE: usize = 16;

/// Milliseconds of this process' life, from 1.
fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Of one tenant; 0: never.
#[derive(Debug, Default)]
pub(crate) struct Used {
    last: AtomicU64,
    noted: AtomicU64,
    called: [AtomicU64; 2],
}

impl Used {
    /// It is used now.
    pub(crate) fn touch(&self) {
        self.last.store(now(), Ordering::Relaxed);
    }

    /// Whether it is time for another call: of all who wait, one makes it.
    pub(super) fn may_call(&self, proof: Proof, again: Duration) -> bool {
        let called = &self.called[usize::from(proof == Proof::Shown)];
        let (before, now) = (called.load(Ordering::Relaxed), now());
        let again = u64::try_from(again.as_millis()).unwrap_or(u64::MAX);
        (before == 0 || now.saturating_sub(before) >= again)
            && called.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn is_noted(&self) -> bool {
        self.last.load(Ordering::Relaxed) <= self.noted.load(Ordering::Relaxed)
    }
}

/// Notes, for ever, which tenants were used: all each minute, and one at once that is about to sleep.
pub async fn note(gateway: Arc<Gateway>) {
    let mut changes = gateway.table.changes();
    loop {
        let next = tokio::time::Instant::now() + NOTED_EVERY;
        // Until then only what the operator asks for the last time.
        while let Ok(changed) = timeout_at(next, changes.changed()).await {
            if changed.is_err() {
                return;
            }
            note_all(&gateway, Tenant::is_asleep).await;
        }
        note_all(&gateway, |tenant| !tenant.is_asleep()).await;
    }
}

/// Notes what is not noted yet, as far as that works within this time: the process ends.
pub async fn note_last(gateway: &Gateway, within: Duration) {
    let _ = timeout(within, note_all(gateway, |tenant| !tenant.is_asleep())).await;
}

async fn note_all(gateway: &Gateway, which: impl Fn(&Tenant) -> bool) {
    let unnoted = gateway.table.all().into_iter().filter(|tenant| {
        if !tenant.may_sleep() || !which(tenant) {
            return false;
        }
        // Who watches, or takes a long answer, uses it.
        let (under_way, watchers) = tenant.load();
        if under_way + watchers > 0 && !tenant.is_asleep() {
            tenant.used().touch();
        }
        !tenant.used().is_noted()
    });
    stream::iter(unnoted)
        .for_each_concurrent(AT_ONCE, async |tenant| {
            let used = tenant.used();
            let last = used.last.load(Ordering::Relaxed);
            let ago = Duration::from_millis(now().saturating_sub(last));
            match Activity::new(tenant.connection().clone()).note(ago).await {
                Ok(()) => {
                    used.noted.fetch_max(last, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::debug!(tenant = %tenant.name(), %error, "that it was used is not noted yet");
                }
            }
        })
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_who_wait_one_calls_and_who_has_shown_a_proof_waits_for_no_other() {
        let used = Used::default();
        let hour = Duration::from_hours(1);
        let calls = (0..100).filter(|_| used.may_call(Proof::Owed, hour)).count();
        assert_eq!(calls, 1);
        assert!(used.may_call(Proof::Shown, hour));
        assert!(!used.may_call(Proof::Shown, hour));
        assert!(used.may_call(Proof::Shown, Duration::ZERO));
    }

    #[test]
    fn what_was_used_is_to_be_noted_once() {
        let used = Used::default();
        assert!(used.is_noted());
        used.touch();
        assert!(!used.is_noted());
        used.noted.store(used.last.load(Ordering::Relaxed), Ordering::Relaxed);
        assert!(used.is_noted());
    }
}
