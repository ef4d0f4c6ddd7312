//! When a tenant sleeps and when it is awake. Pure.
//!
//! It falls asleep in two steps. First the route says so: gateways note what they have not noted yet, ask its Redis for nothing
//! more, and call where somebody wants something. Only if nobody did, and Redis says after that that it was idle, its pods end. It is kept
//! in an annotation of the route how far that is: the route is what gateways go by, and it goes with the Tenant.

pub mod ask;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use keystead_route::Schedule;
use serde::{Deserialize, Serialize};

pub use ask::Idle;

/// Of the route: the [`Sleep`] of its tenant.
pub const ANNOTATION: &str = "keystead.io/sleep";
/// Gateways note at most so seldom that a tenant was used (`keystead_kv::activity`).
pub const NOTED_EVERY: Duration = Duration::from_mins(1);
/// For gateways to hear that the tenant is about to sleep, and to note and answer what is under way.
const DROWSY: Duration = Duration::from_secs(5);
/// For so long it stays about to sleep where its Redis does not answer, or something is not as it should be. If it were awake at
/// once, it would be counted anew for how long nobody uses it, for one answer that came late.
const UNCERTAIN: Duration = Duration::from_mins(1);
/// Between two looks at Redis, at least and at most.
const LOOKS: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(10));
/// After so many wake-ups in a row that came to nothing, those who might be strangers are not kept off for longer.
const MOST_KNOCKS: u32 = 3;

/// How far a tenant is in falling asleep or waking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    Awake,
    /// Gateways are told that it sleeps; its pods run.
    Drowsy,
    /// No pod runs.
    Asleep,
    /// Its pods are started; gateways wait.
    Waking,
}

/// Whether a tenant sleeps, and what that follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sleep {
    pub stage: Stage,
    /// The beginning of the stage.
    pub since: Timestamp,
    /// When a job is due next, of one that is asleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// That of the Tenant which fell asleep: a change of the spec wakes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Wake-ups in a row by who had shown no proof, after each of which nobody used the tenant.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub knocks: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Who wants a tenant that sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Somebody who has shown that they may.
    pub proven: bool,
    /// Somebody of whom only the tenant's Redis can tell.
    pub owed: bool,
}

/// What is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// None: it never sleeps.
    pub idle_after: Option<Duration>,
    pub is_suspended: bool,
    /// Everything was as the spec says, and nothing is being changed.
    pub is_settled: bool,
    /// Those of the spec; others are in its Redis. None: nobody runs its jobs, so that none is worth being awake for.
    pub schedules: Option<&'a [Schedule]>,
    pub generation: Option<i64>,
    pub calls: Calls,
    /// What Redis says; none where it was not asked or did not answer.
    pub idle: Option<Idle>,
    /// Redis answers.
    pub serves: bool,
    pub now: Timestamp,
}

impl Sleep {
    fn new(stage: Stage, now: Timestamp) -> Self {
        Self { stage, since: now, due: None, generation: None, knocks: 0 }
    }

    fn at(&self, stage: Stage, now: Timestamp) -> Self {
        Self { knocks: self.knocks, ..Self::new(stage, now) }
    }

    /// Gateways are to ask its Redis nothing.
    pub fn is_told(&self) -> bool {
        self.stage != Stage::Awake
    }

    /// When who might be a stranger may wake it.
    fn open_at(&self, idle_after: Duration) -> Timestamp {
        let factor = match self.knocks {
            0 => 0,
            knocks => 1 << knocks.min(MOST_KNOCKS),
        };
        later(self.since, idle_after.saturating_mul(factor))
    }
}

/// How it goes on from `before`; none: it is awake for ever.
pub fn next(before: Option<&Sleep>, situation: &Situation<'_>) -> Option<Sleep> {
    let now = situation.now;
    let Some(idle_after) = situation.idle_after else { return for_good(before?, situation) };
    let Some(before) = before else { return Some(Sleep::new(Stage::Awake, now)) };
    let stays = || before.clone();
    Some(match before.stage {
        Stage::Awake => match rest(situation, idle_after, Some(before.since)) {
            Some(rest) if situation.is_settled => {
                // Both are whole seconds, and who was waited for is mostly served in the second in which it woke.
                let knocks = if rest.used >= Some(before.since) { 0 } else { before.knocks };
                Sleep { knocks, ..Sleep::new(Stage::Drowsy, now) }
            }
            _ => stays(),
        },
        Stage::Drowsy if situation.calls.proven || situation.calls.owed => before.at(Stage::Awake, now),
        Stage::Drowsy if now < later(before.since, DROWSY) => stays(),
        Stage::Drowsy => match rest(situation, idle_after, None) {
            // Asked before all gateways may have heard of it.
            Some(rest) if rest.asked < later(before.since, DROWSY) => stays(),
            Some(rest) if situation.is_settled => Sleep {
                due: due(situation, &rest),
                generation: situation.generation,
                ..before.at(Stage::Asleep, now)
            },
            rest if (rest.is_some() || situation.idle.is_none()) && now < later(before.since, UNCERTAIN) => {
                stays()
            }
            _ => before.at(Stage::Awake, now),
        },
        Stage::Asleep if situation.is_suspended => stays(),
        Stage::Asleep => {
            let is_due = before.due.is_some_and(|due| due <= now);
            let is_changed = before.generation != situation.generation;
            if situation.calls.proven || is_due || is_changed {
                before.at(Stage::Waking, now)
            } else if situation.calls.owed && before.open_at(idle_after) <= now {
                Sleep { knocks: before.knocks.saturating_add(1), ..before.at(Stage::Waking, now) }
            } else {
                stays()
            }
        }
        Stage::Waking if situation.serves => before.at(Stage::Awake, now),
        Stage::Waking => stays(),
    })
}

/// Of a tenant that is not to sleep any more: it is woken first where it does.
fn for_good(before: &Sleep, situation: &Situation<'_>) -> Option<Sleep> {
    match before.stage {
        Stage::Awake | Stage::Drowsy => None,
        Stage::Asleep => Some(before.at(Stage::Waking, situation.now)),
        Stage::Waking => (!situation.serves).then(|| before.clone()),
    }
}

/// What Redis says, where it says that nobody has used the tenant for long enough and that nothing is due soon.
fn rest(situation: &Situation<'_>, idle_after: Duration, awake: Option<Timestamp>) -> Option<Idle> {
    let idle = situation.idle?;
    if idle.is_busy && situation.schedules.is_some() {
        return None;
    }
    // A sleep shorter than that is worth nothing.
    let is_due_soon = due(situation, &idle).is_some_and(|due| due <= later(idle.at, idle_after));
    let is_over = idle.at >= over_at(&idle, idle_after, awake);
    (is_over && !is_due_soon).then_some(idle)
}

/// When the tenant will have been idle for long enough, if nobody uses it.
fn over_at(idle: &Idle, idle_after: Duration, awake: Option<Timestamp>) -> Timestamp {
    // What was used just now may not be noted yet.
    let used = idle.used.max(awake).unwrap_or(Timestamp::UNIX_EPOCH);
    later(used, idle_after.saturating_add(NOTED_EVERY))
}

/// When the next job is due that is known of.
fn due(situation: &Situation<'_>, idle: &Idle) -> Option<Timestamp> {
    let schedules = situation.schedules?;
    let minute = u64::try_from(idle.at.as_second() / 60).unwrap_or_default();
    let by_spec = schedules.iter().filter_map(|schedule| schedule.cron.next_after(minute)).min();
    let by_spec = by_spec.and_then(|minute| Timestamp::from_second(i64::try_from(minute).ok()? * 60).ok());
    idle.due.into_iter().chain(by_spec).min()
}

/// When to look again at what no watch tells.
pub fn look_again(sleep: &Sleep, situation: &Situation<'_>) -> Option<Duration> {
    let until = |time: Timestamp| {
        Duration::try_from(time.duration_since(situation.now)).unwrap_or_default().max(Duration::from_secs(1))
    };
    let idle_after = situation.idle_after?;
    match sleep.stage {
        Stage::Awake => Some(match situation.idle {
            Some(idle) if !idle.is_busy => {
                until(over_at(&idle, idle_after, Some(sleep.since))).clamp(LOOKS.0, LOOKS.1)
            }
            Some(_) => NOTED_EVERY,
            None => LOOKS.0,
        }),
        Stage::Drowsy => Some(until(later(sleep.since, DROWSY))),
        Stage::Asleep => {
            let opens = situation.calls.owed.then(|| sleep.open_at(idle_after));
            sleep.due.into_iter().chain(opens).min().map(until)
        }
        Stage::Waking => None,
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
