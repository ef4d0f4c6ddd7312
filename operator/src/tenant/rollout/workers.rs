//! How many workers there are to be where the spec lets them go to none: the operator brings the first one and takes the last
//! one away, by what there is to do. Between one and the most, the autoscaler decides, and nobody else (it does nothing at none:
//! <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#implicit-maintenance-mode-deactivation>). Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use keystead_route::Schedule;

use crate::{
    kinds::Kind,
    settings::Settings,
    tenant::{
        names,
        observe::Observed,
        rollout::Step,
        validate::{Replicas, ValidTenant},
    },
    usage::Demand,
};

/// The last worker goes after so long without a job, if none is to come within the same time. Less than the five minutes after which
/// it sweeps and counts by itself: seen at work on that, it would never go.
const REST: Duration = Duration::from_mins(4);
/// So many expired entries bring a worker, which sweeps at its start: until then their names take Redis' memory.
const UNSWEPT: u64 = 10_000;
/// Minutes before a schedule of the spec is due: the worker queues its jobs, and has to be there.
const AHEAD: u64 = 1;

/// Whether the number of workers follows what there is to do.
pub fn follows(tenant: &ValidTenant, settings: &Settings) -> bool {
    match &tenant.worker.replicas {
        Replicas::Scaled(scaling) => scaling.min == 0 || settings.queue_metric,
        Replicas::Fixed(_) => false,
    }
}

/// The first worker, or the end of the last one.
pub fn step(
    tenant: &ValidTenant,
    observed: &Observed,
    demand: Option<&Demand>,
    now: Timestamp,
) -> Option<Step> {
    let Replicas::Scaled(scaling) = &tenant.worker.replicas else { return None };
    let deployment = observed.get(Kind::Deployment, names::WORKER)?;
    let replicas = observed.replicas(Kind::Deployment, names::WORKER);
    let wanted = wanted(replicas, demand?, &tenant.worker.schedules, now)?;
    // The autoscaler may just have seen a job that came after we looked.
    let version = Some(deployment.resource_version().to_owned());
    (scaling.min == 0).then(|| Step::Scale { key: deployment.key.clone(), replicas: wanted, version })
}

/// Another number of workers than there are; none: it is right, or somebody else's to decide.
fn wanted(replicas: i32, demand: &Demand, schedules: &[Schedule], now: Timestamp) -> Option<i32> {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
    let minute = now_ms / 60_000;
    let comes_within = |ms: u64, minutes: u64| {
        let of_spec = |it: &Schedule| it.cron.next_after(minute.saturating_sub(1));
        demand.jobs.next.is_some_and(|next| next <= now_ms + ms)
            || schedules.iter().filter_map(of_spec).any(|due| due <= minute + minutes)
    };
    let has_work = demand.jobs.waiting + demand.jobs.running > 0 || demand.expired >= UNSWEPT;
    let rest_ms = u64::try_from(REST.as_millis()).unwrap_or_default();
    match replicas {
        0 => (has_work || comes_within(0, AHEAD)).then_some(1),
        1 => (!has_work && demand.idle >= REST && !comes_within(rest_ms, rest_ms / 60_000)).then_some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use keystead_usage::Jobs;
    use serde_json::Value;

    use super::*;

    /// 1970-01-01T10:00Z.
    const NOW: i64 = 10 * 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn demand(waiting: u64, running: u64, next: Option<i64>, idle_minutes: u64) -> Demand {
        let next = next.map(|second| u64::try_from(second).unwrap() * 1000);
        Demand {
            jobs: Jobs { waiting, running, oldest: None, next },
            expired: 0,
            idle: Duration::from_mins(idle_minutes),
        }
    }

    fn daily(cron: &str) -> Vec<Schedule> {
        let (name, kind) = ("daily".into(), "kv.export".into());
        vec![Schedule { name, cron: cron.parse().unwrap(), kind, payload: Value::Null }]
    }

    #[test]
    fn the_first_worker_comes_when_there_is_something_to_do() {
        let none: &[Schedule] = &[];
        for (demand, wanted_then) in [
            (demand(0, 0, None, 60), None),
            (demand(1, 0, None, 0), Some(1)),
            // A worker died with it: another one has to take it over.
            (demand(0, 1, None, 0), Some(1)),
            (demand(0, 0, Some(NOW), 0), Some(1)),
            (demand(0, 0, Some(NOW + 1), 0), None),
        ] {
            assert_eq!(wanted(0, &demand, none, at(NOW)), wanted_then, "{demand:?}");
        }
    }

    #[test]
    fn a_worker_comes_when_much_is_to_be_swept_and_goes_when_it_has_done_so() {
        let unswept = |expired| Demand { expired, ..demand(0, 0, None, 60) };
        assert_eq!(wanted(0, &unswept(UNSWEPT - 1), &[], at(NOW)), None);
        assert_eq!(wanted(0, &unswept(UNSWEPT), &[], at(NOW)), Some(1));
        assert_eq!(wanted(1, &unswept(UNSWEPT), &[], at(NOW)), None, "it would come back at once");
        assert_eq!(wanted(1, &unswept(0), &[], at(NOW)), Some(0));
    }

    #[test]
    fn a_schedule_of_the_spec_finds_a_worker() {
        let idle = demand(0, 0, None, 60);
        let schedules = daily("0 10 * * *");
        let replicas = |from, second| wanted(from, &idle, &schedules, at(second));
        assert_eq!(replicas(0, NOW - 61), None);
        assert_eq!(replicas(0, NOW - 60), Some(1));
        assert_eq!(replicas(0, NOW + 59), Some(1));
        assert_eq!(replicas(0, NOW + 60), None);
        assert_eq!(replicas(1, NOW - 241), Some(0));
        assert_eq!(replicas(1, NOW - 240), None, "it would have to come again");
        assert_eq!(wanted(1, &idle, &daily("* * * * *"), at(NOW)), None);
    }

    #[test]
    fn the_last_worker_goes_after_minutes_without_a_job() {
        let none: &[Schedule] = &[];
        for (demand, wanted_then) in [
            (demand(0, 0, None, 4), Some(0)),
            (demand(0, 0, None, 3), None),
            (demand(1, 0, None, 0), None),
            (demand(0, 1, None, 0), None),
            (demand(0, 0, Some(NOW + 240), 60), None),
            (demand(0, 0, Some(NOW + 241), 60), Some(0)),
        ] {
            assert_eq!(wanted(1, &demand, none, at(NOW)), wanted_then, "{demand:?}");
        }
    }

    #[test]
    fn what_the_autoscaler_has_set_is_left_as_it_is() {
        for replicas in 2..10 {
            for demand in [demand(0, 0, None, 60), demand(1000, 9, Some(NOW), 0)] {
                assert_eq!(wanted(replicas, &demand, &[], at(NOW)), None, "{replicas} {demand:?}");
            }
        }
        assert_eq!(wanted(1, &demand(1000, 0, None, 0), &[], at(NOW)), None);
    }
}
