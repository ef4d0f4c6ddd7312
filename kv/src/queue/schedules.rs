//! Schedules that a tenant writes through the API: a job each time they are due, whoever sees that first.

use std::{fmt, str::FromStr};

use keystead_route::Cron;
use redis::{Value, cmd};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Fields, MAX_WAITING, Queue, job_key};
use crate::{
    clock::now_ms,
    entry::Corrupt,
    error::{Effect, Error},
    script,
};

/// How many schedules a tenant may have.
pub const MAX_SCHEDULES: u32 = 100;
const MAX_NAME_BYTES: usize = 63;
const MINUTE: u64 = 60_000;
/// Attempts of a job that a schedule has queued.
const ATTEMPTS: &str = "5";

const ALL: &[u8] = b"jobs:{j}:schedules";

/// The name of a schedule: letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleName(String);

/// The text is no [`ScheduleName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a schedule's name has 1 to {MAX_NAME_BYTES} letters, digits, '.', '_' and '-'")]
pub struct InvalidName;

impl FromStr for ScheduleName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_usual);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A schedule to be written.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    pub cron: Cron,
    pub kind: String,
    /// JSON text.
    pub payload: String,
}

/// What became of a schedule that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutSchedule {
    Created,
    Replaced,
    /// There are [`MAX_SCHEDULES`] others.
    TooMany,
    /// Its cron names no time at all, such as a 30th of February.
    NeverDue,
}

/// A schedule as its owner sees it. Times are milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub name: String,
    pub cron: String,
    pub kind: String,
    pub payload: Box<RawValue>,
    pub next_run_at: u64,
    pub created_at: u64,
    pub updated_at: u64,
    pub last_run_at: Option<u64>,
    /// The job that it has queued last.
    pub last_job_id: Option<String>,
}

impl Queue {
    pub async fn put_schedule(
        &self,
        name: &ScheduleName,
        schedule: &NewSchedule,
    ) -> Result<PutSchedule, Error> {
        let Some(next) = next_after(&schedule.cron, now_ms()) else { return Ok(PutSchedule::NeverDue) };
        let (key, cron, most) = (key(&name.0), schedule.cron.to_string(), MAX_SCHEDULES.to_string());
        let arguments: [&[u8]; 6] = [
            name.0.as_bytes(),
            cron.as_bytes(),
            schedule.kind.as_bytes(),
            schedule.payload.as_bytes(),
            next.as_bytes(),
            most.as_bytes(),
        ];
        let put: i8 = self
            .connection
            .eval(&script::SCHEDULE_PUT, Effect::Write, &[ALL, key.as_bytes()], &arguments)
            .await?;
        Ok(match put {
            1 => PutSchedule::Created,
            0 => PutSchedule::Replaced,
            _ => PutSchedule::TooMany,
        })
    }

    pub async fn schedule(&self, name: &ScheduleName) -> Result<Option<Schedule>, Error> {
        Ok(self.schedules_of(vec![name.0.clone()]).await?.pop())
    }

    /// All of them, those first that are due next.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        let names = self.connection.read(cmd("ZRANGE").arg(ALL).arg(0).arg(-1)).await?;
        self.schedules_of(names).await
    }

    async fn schedules_of(&self, names: Vec<String>) -> Result<Vec<Schedule>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut reads = redis::pipe();
        for name in &names {
            reads.add_command(cmd("HGETALL").arg(key(name)).clone());
            reads.add_command(cmd("ZSCORE").arg(ALL).arg(name).clone());
        }
        let mut answers = self.connection.pipeline(&reads, Vec::new(), Effect::Read).await?.into_iter();
        let mut schedules = Vec::with_capacity(names.len());
        for name in names {
            let (Some(hash), Some(due)) = (answers.next(), answers.next()) else { break };
            // Of one that goes just now one of the two may be gone.
            if let (Some(fields), Some(next_run_at)) = (Fields::of(hash?)?, milliseconds(&due?)) {
                schedules.push(found(name, next_run_at, &fields)?);
            }
        }
        Ok(schedules)
    }

    /// Whether there was one.
    pub async fn remove_schedule(&self, name: &ScheduleName) -> Result<bool, Error> {
        let key = key(&name.0);
        let keys: [&[u8]; 2] = [ALL, key.as_bytes()];
        self.connection.eval(&script::SCHEDULE_REMOVE, Effect::Write, &keys, &[name.0.as_bytes()]).await
    }

    /// Queues the jobs of all schedules that are due, unless somebody else does so first; gives how many it queued.
    pub async fn run_schedules(&self) -> Result<u32, Error> {
        let most = MAX_SCHEDULES.to_string();
        let due: Vec<String> =
            self.connection.eval(&script::SCHEDULES_DUE, Effect::Read, &[ALL], &[most.as_bytes()]).await?;
        let mut fields = due.into_iter();
        let now = fields.next().and_then(|now| now.parse().ok()).ok_or(Corrupt::Malformed)?;
        let mut queued = 0;
        while let (Some(name), Some(due), Some(cron)) = (fields.next(), fields.next(), fields.next()) {
            let parsed: Cron = cron.parse().map_err(|_| Corrupt::Malformed)?;
            let next = next_after(&parsed, now).ok_or(Corrupt::Malformed)?;
            let (id, most) = (Uuid::now_v7().to_string(), MAX_WAITING.to_string());
            let (key, job) = (key(&name), job_key(&id));
            let arguments =
                [&name, &due, &cron, &next, &id, ATTEMPTS, &most].map(|text: &str| text.as_bytes());
            let keys: [&[u8]; 3] = [ALL, key.as_bytes(), job.as_bytes()];
            match self.connection.eval(&script::SCHEDULE_RUN, Effect::Write, &keys, &arguments).await? {
                1_i8 => queued += 1,
                0 => {}
                _ => return Err(Error::QueueFull),
            }
        }
        Ok(queued)
    }
}

fn key(name: &str) -> String {
    format!("jobs:{{j}}:schedule:{name}")
}

/// The next time behind this one at which it is due, both in milliseconds; the former as the scripts take it.
fn next_after(cron: &Cron, now: u64) -> Option<String> {
    cron.next_after(now / MINUTE).map(|minute| (minute * MINUTE).to_string())
}

/// A score, where there is one.
fn milliseconds(score: &Value) -> Option<u64> {
    let time = redis::from_redis_value_ref::<Option<f64>>(score).ok().flatten()?;
    u64::try_from(std::time::Duration::try_from_secs_f64(time / 1000.0).ok()?.as_millis()).ok()
}

fn found(name: String, next_run_at: u64, fields: &Fields) -> Result<Schedule, Error> {
    Ok(Schedule {
        name,
        cron: fields.text("cron").ok_or(Corrupt::Malformed)?,
        kind: fields.text("kind").ok_or(Corrupt::Malformed)?,
        payload: fields.json("payload").ok_or(Corrupt::Malformed)?,
        next_run_at,
        created_at: fields.number("created").unwrap_or(0),
        updated_at: fields.number("updated").unwrap_or(0),
        last_run_at: fields.number("last_run"),
        last_job_id: fields.text("last_job"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_break_out_of_a_name_in_redis_is_no_name() {
        for name in ["nightly", "a.b_c-D9", &"n".repeat(63)] {
            assert_eq!(name.parse::<ScheduleName>().unwrap().to_string(), name);
        }
        for wrong in ["", "a:b", "{j}", "a b", "ä", &"n".repeat(64)] {
            assert_eq!(wrong.parse::<ScheduleName>(), Err(InvalidName), "{wrong:?}");
        }
    }
}
