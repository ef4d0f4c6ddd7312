//! What there is to do in a tenant's queue. `docs/jobs.md` describes its keys.

use redis::{ParsingError, Pipeline, Value, from_redis_value_ref};

const READY: &str = "jobs:{j}:ready";
const SCHEDULED: &str = "jobs:{j}:scheduled";
const SCHEDULES: &str = "jobs:{j}:schedules";
const COUNTS: &str = "jobs:{j}:counts";
/// Jobs that are ready are sorted by priority first, and then by the time since which they are.
const OF_PRIORITY: u64 = 10_000_000_000_000;
const PRIORITIES: u8 = 10;
/// Before those for each priority.
const FIRST: usize = 5;

/// How many questions [`Jobs::ask`] puts.
pub const QUESTIONS: usize = FIRST + PRIORITIES as usize;

/// What there is to do. Times are milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Jobs that may begin, and wait; also those whose time has come that no worker has seen yet.
    pub waiting: u64,
    pub running: u64,
    /// Since when the one has waited that has waited the longest.
    pub oldest: Option<u64>,
    /// When the next job for later may begin, or the next schedule of the API is due.
    pub next: Option<u64>,
}

impl Jobs {
    /// Puts the questions; all of their keys are in one slot.
    pub fn ask(questions: &mut Pipeline, now_ms: u64) {
        questions.cmd("ZCARD").arg(READY);
        questions.cmd("ZCOUNT").arg(SCHEDULED).arg("-inf").arg(now_ms);
        questions.cmd("HGET").arg(COUNTS).arg("running");
        for key in [SCHEDULED, SCHEDULES] {
            let first = questions.cmd("ZRANGEBYSCORE").arg(key).arg("-inf").arg("+inf");
            first.arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
        }
        for priority in 0..u64::from(PRIORITIES) {
            let (from, to) = (priority * OF_PRIORITY, (priority + 1) * OF_PRIORITY);
            let first = questions.cmd("ZRANGEBYSCORE").arg(READY).arg(from).arg(format!("({to}"));
            first.arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
        }
    }

    /// Reads the answers; `now_ms` as it was when the questions were put.
    pub fn read(answers: &[Value], now_ms: u64) -> Result<Self, ParsingError> {
        let [ready, due, running, later, repeated, priorities @ ..] = answers else {
            return Err("an answer to each question was expected".to_owned().into());
        };
        let (ready, due): (u64, u64) = (from_redis_value_ref(ready)?, from_redis_value_ref(due)?);
        let running: Option<i64> = from_redis_value_ref(running)?;
        let (later, repeated) = (first_score(later)?, first_score(repeated)?);
        // Those that are due wait since then.
        let mut oldest = later.filter(|time| *time <= now_ms);
        for priority in priorities {
            let since = first_score(priority)?.map(|score| score % OF_PRIORITY);
            oldest = oldest.into_iter().chain(since).min();
        }
        Ok(Self {
            waiting: ready + due,
            running: running.and_then(|it| u64::try_from(it).ok()).unwrap_or_default(),
            oldest,
            next: later.into_iter().chain(repeated).min(),
        })
    }
}

fn first_score(answer: &Value) -> Result<Option<u64>, ParsingError> {
    let first: Vec<(String, f64)> = from_redis_value_ref(answer)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
    let score = first.first().map(|(_, score)| *score as u64);
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(score: Option<f64>) -> Value {
        let pair = |score: f64| [Value::BulkString(b"id".to_vec()), Value::Double(score)];
        Value::Array(score.map(pair).into_iter().flatten().collect())
    }

    fn answers(scheduled: Option<f64>, schedule: Option<f64>, priorities: [Option<f64>; 10]) -> Vec<Value> {
        let mut answers = vec![Value::Int(3), Value::Int(1), Value::BulkString(b"2".to_vec())];
        answers.extend([first(scheduled), first(schedule)]);
        answers.extend(priorities.map(first));
        answers
    }

    #[test]
    fn every_question_has_its_answer() {
        let mut questions = redis::pipe();
        Jobs::ask(&mut questions, 1);
        assert_eq!(questions.len(), QUESTIONS);
        assert_eq!(answers(None, None, [None; 10]).len(), QUESTIONS);
        assert!(Jobs::read(&[Value::Int(1)], 1).is_err());
    }

    #[test]
    fn the_oldest_job_counts_whatever_its_priority_and_so_does_one_that_nobody_has_made_ready() {
        let mut priorities = [None; 10];
        (priorities[0], priorities[4]) = (Some(700.0), Some(4e13 + 500.0));
        let jobs = Jobs::read(&answers(Some(900.0), Some(800.0), priorities), 1000).unwrap();
        assert_eq!(jobs, Jobs { waiting: 4, running: 2, oldest: Some(500), next: Some(800) });
        let jobs = Jobs::read(&answers(Some(400.0), None, priorities), 1000).unwrap();
        assert_eq!((jobs.oldest, jobs.next), (Some(400), Some(400)));
        let jobs = Jobs::read(&answers(Some(1400.0), None, [None; 10]), 1000).unwrap();
        assert_eq!((jobs.oldest, jobs.next), (None, Some(1400)), "it is for later");
    }
}
