//! What a tenant's Redis says of its idleness: when it was used last, and what its queue has to do. Asks as the user `monitor`,
//! which may read just that; decides nothing.

use futures::future::join_all;
use k8s_openapi::jiff::Timestamp;
use keystead_usage::Jobs;
use redis::{ParsingError, RedisError, Value, from_redis_value_ref};

use crate::tenant::{
    members::{self, Login},
    names,
};

/// What it has said; times are of its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// When that was.
    pub at: Timestamp,
    /// When it was asked, by our clock.
    pub asked: Timestamp,
    /// When the tenant was used last, as far as that is noted.
    pub used: Option<Timestamp>,
    /// Jobs wait or run.
    pub is_busy: bool,
    /// When the first job is due of those that are put off or scheduled.
    pub due: Option<Timestamp>,
}

/// What the first of these says that has the queue: of a cluster only one does, and the others refuse.
pub async fn ask(ips: &[&str], login: &Login<'_>) -> Option<Idle> {
    let asked = Timestamp::now();
    let answers = join_all(ips.iter().map(|ip| ask_one(ip, login, asked))).await;
    answers.into_iter().find_map(Result::ok)
}

async fn ask_one(ip: &str, login: &Login<'_>, asked: Timestamp) -> Result<Idle, RedisError> {
    let mut connection = members::connect(ip, names::REDIS_PORT, login).await?;
    let mut questions = redis::pipe();
    questions.cmd("TIME");
    questions.cmd("GET").arg("jobs:{j}:used");
    Jobs::ask(&mut questions, milliseconds(asked));
    let answers: Vec<Value> = questions.query_async(&mut connection).await?;
    Ok(read(&answers, asked)?)
}

/// Reads the answers to these questions, in their order.
fn read(answers: &[Value], asked: Timestamp) -> Result<Idle, ParsingError> {
    let [time, used, queue @ ..] = answers else {
        return Err("an answer to each question was expected".to_owned().into());
    };
    let (seconds, _microseconds): (i64, i64) = from_redis_value_ref(time)?;
    let used: Option<u64> = from_redis_value_ref(used)?;
    let jobs = Jobs::read(queue, milliseconds(asked))?;
    // To the second: a part of one is of no account.
    let time = |milliseconds: u64| {
        Timestamp::from_second(i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX)).ok()
    };
    Ok(Idle {
        at: Timestamp::from_second(seconds).unwrap_or_default(),
        asked,
        used: used.and_then(time),
        is_busy: jobs.waiting > 0 || jobs.running > 0,
        due: jobs.next.and_then(time),
    })
}

/// Since 1970.
fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// What Redis answers, where no job that is ready tells since when.
    fn answers(
        time: [&str; 2],
        used: Value,
        ready: i64,
        running: Value,
        [put_off, schedules]: [Value; 2],
    ) -> Vec<Value> {
        let time = Value::Array(time.map(text).to_vec());
        let mut answers = vec![time, used, Value::Int(ready), Value::Int(0), running, put_off, schedules];
        answers.resize(2 + keystead_usage::QUESTIONS, Value::Array(Vec::new()));
        answers
    }

    #[test]
    fn a_queue_that_never_was_used_is_idle() {
        let nothing = || Value::Array(Vec::new());
        let answers = answers(["1700000000", "999999"], Value::Nil, 0, Value::Nil, [nothing(), nothing()]);
        let idle = read(&answers, at(7)).unwrap();
        let nothing = Idle { at: at(1_700_000_000), asked: at(7), used: None, is_busy: false, due: None };
        assert_eq!(idle, nothing);
    }

    #[test]
    fn what_is_due_first_counts_and_jobs_that_wait_or_run_are_work() {
        let ask = |ready: i64, running: &str| {
            let first = |id: &str, score: &str| Value::Array(vec![text(id), text(score)]);
            let firsts = [first("x", "1700000900000"), first("nightly", "1700000600000")];
            let used = text("1699999990500");
            read(&answers(["1700000000", "0"], used, ready, text(running), firsts), at(0)).unwrap()
        };
        let idle = ask(0, "0");
        assert_eq!((idle.used, idle.due), (Some(at(1_699_999_990)), Some(at(1_700_000_600))));
        assert!(!idle.is_busy && ask(1, "0").is_busy && ask(0, "2").is_busy);
    }
}
