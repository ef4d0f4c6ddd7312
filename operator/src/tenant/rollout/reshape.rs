//! How the Job is that distributes the data of a Cluster tenant over its shards. Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cache::Seen,
    kinds::Kind,
    tenant::{build::Object, names, observe::Observed},
};

/// Annotation of the Job: how many there were in a row, it included.
const ATTEMPT_ANNOTATION: &str = "keystead.io/attempt";
/// After the first failure, and after many.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Where the Job is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    Absent,
    Runs,
    /// It has not begun, and what is wanted now may mend that.
    Stuck,
    /// It was deleted, or has ended, and one of its pods may still run.
    Ends,
    Finished(Finished),
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    pub attempt: u32,
    pub at: Timestamp,
    /// Why it failed; none where it did not.
    pub failure: Option<String>,
    /// Whether it was for something else than what is wanted now: the next has nothing to wait for.
    pub is_outdated: bool,
}

impl Finished {
    /// When the next may begin.
    pub fn next_at(&self) -> Timestamp {
        if self.is_outdated {
            return self.at;
        }
        let factor = 1_u32.checked_shl(self.attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        self.at.checked_add(pause).unwrap_or(self.at)
    }
}

/// The Job as it was seen; `wanted` is what would be made now.
pub fn job(observed: &Observed, wanted: Option<&Object>) -> Job {
    let Some(job) = observed.get(Kind::Job, names::REDIS_RESHAPE) else {
        return if pods(observed).any(may_run) { Job::Ends } else { Job::Absent };
    };
    if job.is_terminating() {
        return Job::Ends;
    }
    let hash =
        |it: &Value| it.pointer("/metadata/annotations").map(|it| it[names::APPLIED_ANNOTATION].clone());
    let is_outdated = wanted.is_some_and(|wanted| hash(&wanted.body) != hash(&job.body));
    if let Some(finished) = finished(observed, job, is_outdated) {
        return if pods(observed).any(may_run) { Job::Ends } else { Job::Finished(finished) };
    }
    let runs = pods(observed).any(|pod| phase(pod) == Some("Running"));
    if is_outdated && !runs { Job::Stuck } else { Job::Runs }
}

fn finished(observed: &Observed, job: &Seen, is_outdated: bool) -> Option<Finished> {
    let conditions = || job.at("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let end = |type_: &str| conditions().find(|it| it["type"] == type_ && it["status"] == "True");
    let at = |condition: &Value| condition["lastTransitionTime"].as_str()?.parse().ok();
    let attempt =
        job.at("/metadata/annotations").and_then(|it| it[ATTEMPT_ANNOTATION].as_str()?.parse().ok());
    let finished = |condition: &Value, failure| Finished {
        attempt: attempt.unwrap_or(1),
        at: at(condition).unwrap_or_default(),
        failure,
        is_outdated,
    };
    if let Some(failed) = end("Failed") {
        let own = failed["message"].as_str().or(failed["reason"].as_str()).unwrap_or("it does not say why");
        let said = last_words(observed, job).unwrap_or_else(|| own.to_owned());
        return Some(finished(failed, Some(said)));
    }
    end("Complete").map(|complete| finished(complete, None))
}

/// The last line that its pod wrote.
fn last_words(observed: &Observed, job: &Seen) -> Option<String> {
    let is_its = |pod: &&Seen| {
        let owners = pod.metadata("ownerReferences").and_then(Value::as_array);
        owners.is_some_and(|owners| owners.iter().any(|it| it["uid"] == job.uid()))
    };
    let words = |pod: &Seen| {
        let message = pod.at("/status/containerStatuses/0/state/terminated/message")?.as_str()?;
        let line = message.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.trim_start_matches("keystead: ").to_owned())
    };
    pods(observed).filter(is_its).find_map(words)
}

fn pods(observed: &Observed) -> impl Iterator<Item = &Seen> {
    let is_one = |it: &&Seen| {
        let component = it.metadata("labels").and_then(|it| it[names::COMPONENT_LABEL].as_str());
        it.key.kind == Kind::Pod && component == Some(names::REDIS_RESHAPE)
    };
    observed.objects.values().map(AsRef::as_ref).filter(is_one)
}

fn phase(pod: &Seen) -> Option<&str> {
    pod.at("/status/phase").and_then(Value::as_str)
}

fn may_run(pod: &Seen) -> bool {
    !matches!(phase(pod), Some("Succeeded" | "Failed"))
}

/// The Job that is made now, after the one before.
pub fn next(wanted: &Object, before: &Job) -> Object {
    let attempt = match before {
        Job::Finished(finished) if !finished.is_outdated => finished.attempt.saturating_add(1),
        _ => 1,
    };
    let mut object = wanted.clone();
    object.body["metadata"]["annotations"][ATTEMPT_ANNOTATION] = json!(attempt.to_string());
    object
}
