//! What the status says of a tenant's use, and when that is worth a write. Pure.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use keystead_crds::UsageStatus;

use super::Usage;

/// In seconds: no sooner after the last write, whatever changes.
const PAUSE: i64 = 60;
/// In seconds: after this also where nothing has changed, so that one sees that Redis still answers.
const REFRESH: i64 = 600;
/// Memory of an idle Redis moves by less.
const MIB: i64 = 1024 * 1024;

/// As the status has it.
pub fn status(usage: &Usage, now: Timestamp) -> UsageStatus {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "0 to 100")]
    let percent = |share: f64| (share * 100.0).round() as i32;
    let time = |ms: u64| Timestamp::from_second(number(ms / 1000)).ok().map(Time);
    let (totals, jobs) = (&usage.totals, &usage.jobs);
    UsageStatus {
        keys: number(usage.keys),
        memory_bytes: number(totals.memory_bytes),
        max_memory_bytes: number(totals.max_memory_bytes),
        hit_rate_percent: totals.hit_rate.map(percent),
        connections: number(totals.connections),
        replication_lag_bytes: totals.replication_lag_bytes.map(number),
        queue_waiting: number(jobs.waiting),
        queue_running: number(jobs.running),
        oldest_waiting_since: jobs.oldest.and_then(time),
        observed_at: Time(now),
    }
}

/// Whether it is worth a write after what was written last.
pub fn is_news(written: Option<&UsageStatus>, current: &UsageStatus) -> bool {
    let Some(written) = written else { return true };
    let age = current.observed_at.0.as_second() - written.observed_at.0.as_second();
    age >= REFRESH || (age >= PAUSE && differs(written, current))
}

/// By more than it always does: by a twentieth, and by more than a little.
fn differs(one: &UsageStatus, other: &UsageStatus) -> bool {
    let by = |least: i64, one: i64, other: i64| {
        let difference = one.abs_diff(other);
        difference >= least.unsigned_abs() && difference.saturating_mul(20) >= one.max(other).unsigned_abs()
    };
    let by_optional = |least: i64, one: Option<i64>, other: Option<i64>| match (one, other) {
        (Some(one), Some(other)) => by(least, one, other),
        (one, other) => one != other,
    };
    by(1, one.keys, other.keys)
        || by(MIB, one.memory_bytes, other.memory_bytes)
        || one.max_memory_bytes != other.max_memory_bytes
        || by_optional(5, one.hit_rate_percent.map(i64::from), other.hit_rate_percent.map(i64::from))
        || by(10, one.connections, other.connections)
        || by_optional(MIB, one.replication_lag_bytes, other.replication_lag_bytes)
        || by(1, one.queue_waiting, other.queue_waiting)
        || by(1, one.queue_running, other.queue_running)
}

#[cfg(test)]
mod tests {
    use keystead_usage::{Jobs, Totals};

    use super::*;

    fn seen(keys: u64, memory_bytes: u64, second: i64) -> UsageStatus {
        let usage = Usage {
            keys,
            expired: 0,
            totals: Totals { memory_bytes, hit_rate: Some(0.756), ..Totals::default() },
            jobs: Jobs { waiting: 2, oldest: Some(1500), ..Jobs::default() },
        };
        status(&usage, Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_status_has_whole_numbers_and_times() {
        assert_eq!(
            serde_json::to_value(seen(7, 9_000_000, 60)).unwrap(),
            serde_json::json!({
                "keys": 7, "memoryBytes": 9_000_000, "maxMemoryBytes": 0, "hitRatePercent": 76, "connections": 0,
                "queueWaiting": 2, "queueRunning": 0, "oldestWaitingSince": "1970-01-01T00:00:01Z",
                "observedAt": "1970-01-01T00:01:00Z",
            })
        );
    }

    #[test]
    fn an_idle_tenant_is_written_down_every_ten_minutes_and_not_before() {
        let first = seen(1000, 9_000_000, 0);
        assert!(is_news(None, &first));
        for second in [30, 60, 599] {
            assert!(!is_news(Some(&first), &seen(1000, 9_000_500, second)), "{second}");
        }
        assert!(is_news(Some(&first), &seen(1000, 9_000_500, 600)));
    }

    #[test]
    fn what_changes_by_a_twentieth_is_written_down_at_most_each_minute() {
        let first = seen(1000, 9_000_000, 0);
        assert!(!is_news(Some(&first), &seen(1040, 9_000_000, 60)));
        assert!(is_news(Some(&first), &seen(1060, 9_000_000, 60)));
        assert!(!is_news(Some(&first), &seen(9000, 90_000_000, 59)));
        assert!(is_news(Some(&first), &seen(1000, 12_000_000, 60)));
        assert!(is_news(Some(&seen(0, 1, 0)), &seen(1, 1, 60)), "the first key");
    }
}
