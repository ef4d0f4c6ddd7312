//! One client of the gateway, which says of each request what is known to have come of it.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ureq::{Agent, Error, http::Request};

use crate::operation::{Action, Operation, Outcome};

/// Where the recorder's requests go.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://host:port` of gateways; clients are spread over them.
    pub gateways: Vec<String>,
    /// An access token or an API key that outlives the recording.
    pub credential: String,
}

/// A client does one thing after the other.
#[derive(Debug)]
pub(crate) struct Client {
    id: u32,
    base: String,
    credential: String,
    agent: Agent,
    /// What times are counted from.
    begun: Instant,
}

/// What came of a request, and the `ETag` of what is there now where the answer has one.
pub(crate) struct Performed {
    pub(crate) operation: Operation,
    pub(crate) etag: Option<String>,
}

struct Answer {
    status: u16,
    body: Value,
    etag: Option<String>,
}

impl Client {
    pub(crate) fn new(id: u32, target: &Target, timeout: Duration, begun: Instant) -> Self {
        let base = &target.gateways[id as usize % target.gateways.len()];
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(timeout));
        let (base, credential) = (base.clone(), target.credential.clone());
        Self { id, base, credential, agent: config.build().new_agent(), begun }
    }

    /// Sends one request; `etag` is the condition of a compare-and-set.
    pub(crate) fn perform(&self, key: &str, action: Action, etag: Option<&str>) -> Performed {
        let call = self.now();
        let answer = self.send(key, action, etag);
        let returned = self.now();
        let version =
            answer.as_ref().map_or(0, |answer| answer.body["metadata"]["version"].as_u64().unwrap_or(0));
        let (outcome, answer, etag) = match answer {
            Ok(answer) => {
                let code = answer.body["code"].as_str().unwrap_or_default();
                let outcome = outcome(action, answer.status, code, &answer.body["value"]);
                (outcome, format!("{} {code}", answer.status).trim_end().to_owned(), answer.etag)
            }
            // Nobody listened, so nobody heard it.
            Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                (Outcome::NotExecuted, "no answer: connection refused".to_owned(), None)
            }
            Err(Error::Timeout(_)) => (Outcome::Unknown, "no answer: timeout".to_owned(), None),
            Err(error) => (Outcome::Unknown, format!("no answer: {error}"), None),
        };
        let key = key.to_owned();
        Performed {
            operation: Operation { client: self.id, key, action, outcome, version, call, returned, answer },
            etag,
        }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("centuries")
    }

    fn send(&self, key: &str, action: Action, etag: Option<&str>) -> Result<Answer, Error> {
        let path = format!("{}/api/v1/kv/{key}", self.base);
        let request = Request::builder().header("Authorization", format!("Bearer {}", self.credential));
        let mut answer = if let Some(input) = action.input() {
            let mut request = request.method("PUT").uri(path).header("Content-Type", "application/json");
            if let Some(etag) = etag {
                request = request.header("If-Match", etag);
            }
            self.agent
                .run(request.body(json!({ "value": input }).to_string()).expect("a well-formed request"))?
        } else {
            let request = request.method("GET").uri(format!("{path}?consistency=primary"));
            self.agent.run(request.body(()).expect("a well-formed request"))?
        };
        let text = answer.body_mut().read_to_string()?;
        let etag = answer.headers().get("etag").and_then(|etag| Some(etag.to_str().ok()?.to_owned()));
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status: answer.status().as_u16(), body, etag })
    }
}

/// What the API promises of an answer; what it does not promise is unknown.
fn outcome(action: Action, status: u16, code: &str, value: &Value) -> Outcome {
    match (action, status, code) {
        (Action::Read, 200, _) => value.as_u64().map_or(Outcome::Unknown, Outcome::Seen),
        (Action::Read, 404, "key_not_found") => Outcome::Seen(0),
        (Action::Read, _, _) => Outcome::NotExecuted,
        (_, 200 | 201, _) => Outcome::Done,
        (Action::Cas { .. }, 412, _) => Outcome::Refused,
        (_, 503, "redis_unavailable" | "too_busy" | "not_ready") | (_, 400..=499 | 507, _) => {
            Outcome::NotExecuted
        }
        // `outcome_unknown`, and all that the API does not speak of.
        _ => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_api_promises_is_known() {
        let (write, cas) = (Action::Write { input: 2 }, Action::Cas { expected: 1, input: 2 });
        for (action, status, code, value, expected) in [
            (Action::Read, 200, "", json!(7), Outcome::Seen(7)),
            (Action::Read, 404, "key_not_found", json!(null), Outcome::Seen(0)),
            (Action::Read, 404, "tenant_unknown", json!(null), Outcome::NotExecuted),
            (Action::Read, 504, "deadline_exceeded", json!(null), Outcome::NotExecuted),
            (write, 201, "", json!(2), Outcome::Done),
            (write, 503, "redis_unavailable", json!(null), Outcome::NotExecuted),
            (write, 503, "outcome_unknown", json!(null), Outcome::Unknown),
            (write, 503, "", json!(null), Outcome::Unknown),
            (write, 500, "internal", json!(null), Outcome::Unknown),
            (write, 504, "deadline_exceeded", json!(null), Outcome::Unknown),
            (write, 507, "storage_full", json!(null), Outcome::NotExecuted),
            (cas, 200, "", json!(2), Outcome::Done),
            (cas, 412, "condition_failed", json!(null), Outcome::Refused),
        ] {
            assert_eq!(outcome(action, status, code, &value), expected, "{action:?}: {status} {code}");
        }
    }
}
