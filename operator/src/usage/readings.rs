//! What was seen last of each tenant's use, and since when there is nothing to do.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use keystead_usage::Jobs;

use super::Usage;

/// A reading older than this is no ground for anything.
pub const FRESH: Duration = Duration::from_mins(1);

/// What there is to do for a tenant's workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    pub jobs: Jobs,
    /// Entries that wait to be swept.
    pub expired: u64,
    /// For how long there was nothing to do although there was a worker.
    pub idle: Duration,
}

/// The last readings of all tenants.
#[derive(Debug, Default)]
pub struct Readings(Mutex<HashMap<String, Reading>>);

#[derive(Debug)]
struct Reading {
    usage: Usage,
    taken: Instant,
    /// The same by the clock on the wall.
    at: Timestamp,
    idle_since: Option<Instant>,
}

impl Readings {
    /// Takes in what was seen; `has_worker`: there was somebody to do it.
    pub fn took(&self, tenant: &str, usage: Usage, has_worker: bool, (now, at): (Instant, Timestamp)) {
        let mut readings = self.lock();
        let is_idle = has_worker && usage.jobs.waiting + usage.jobs.running == 0;
        let former = readings.get(tenant).and_then(|it| it.idle_since);
        let idle_since = is_idle.then(|| former.unwrap_or(now));
        readings.insert(tenant.to_owned(), Reading { usage, taken: now, at, idle_since });
    }

    /// What there is to do, where that was seen lately.
    pub fn demand(&self, tenant: &str, now: Instant) -> Option<Demand> {
        let readings = self.lock();
        let reading = readings.get(tenant).filter(|it| now.duration_since(it.taken) < FRESH)?;
        let idle = reading.idle_since.map(|since| now.duration_since(since)).unwrap_or_default();
        Some(Demand { jobs: reading.usage.jobs, expired: reading.usage.expired, idle })
    }

    /// Jobs that wait or run, and when they were counted, where that was lately.
    pub fn depth(&self, tenant: &str, now: Instant) -> Option<(u64, Timestamp)> {
        let readings = self.lock();
        let reading = readings.get(tenant).filter(|it| now.duration_since(it.taken) < FRESH)?;
        Some((reading.usage.jobs.waiting + reading.usage.jobs.running, reading.at))
    }

    /// Forgets all others.
    pub fn retain(&self, tenants: &HashSet<String>) {
        self.lock().retain(|name, _| tenants.contains(name));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(waiting: u64) -> Usage {
        Usage { jobs: Jobs { waiting, ..Jobs::default() }, ..Usage::default() }
    }

    #[test]
    fn idle_is_counted_from_the_first_time_that_a_worker_had_nothing_to_do() {
        let readings = Readings::default();
        let begun = Instant::now();
        let at = |seconds: u64| (begun + Duration::from_secs(seconds), Timestamp::UNIX_EPOCH);
        let idle = |seconds: u64| readings.demand("shop", at(seconds).0).unwrap().idle.as_secs();
        readings.took("shop", usage(0), false, at(0));
        assert_eq!(idle(10), 0, "there is no worker");
        readings.took("shop", usage(0), true, at(10));
        readings.took("shop", usage(0), true, at(20));
        assert_eq!(idle(30), 20);
        readings.took("shop", usage(1), true, at(30));
        assert_eq!(idle(40), 0);
        readings.took("shop", usage(0), true, at(40));
        assert_eq!(idle(45), 5);
    }

    #[test]
    fn what_was_seen_long_ago_or_is_gone_is_no_demand() {
        let readings = Readings::default();
        let begun = Instant::now();
        readings.took("shop", usage(3), true, (begun, Timestamp::UNIX_EPOCH));
        readings.took("bank", usage(4), true, (begun, Timestamp::UNIX_EPOCH));
        assert_eq!(readings.demand("shop", begun).unwrap().jobs.waiting, 3);
        assert_eq!(readings.depth("shop", begun), Some((3, Timestamp::UNIX_EPOCH)));
        assert_eq!(readings.demand("shop", begun + FRESH), None);
        assert_eq!(readings.depth("shop", begun + FRESH), None);
        readings.retain(&["bank".to_owned()].into());
        assert_eq!(readings.demand("shop", begun), None);
        assert!(readings.demand("bank", begun).is_some());
    }
}
