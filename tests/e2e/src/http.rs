//! The gateway's REST API as a client sees it.

use std::{sync::LazyLock, time::Duration};

use serde_json::{Value, json};
use ureq::{Agent, http};

use crate::{
    kubectl::get_json,
    wait::{eventually, within},
};

/// Longer than a gateway waits for a tenant that wakes before it says so (`gateway.wakeWait`, 10 s).
static AGENT: LazyLock<Agent> = LazyLock::new(|| agent(Duration::from_secs(30)));

/// Longer than a gateway waits for a new tenant.
const FOR_A_TENANT: Duration = Duration::from_mins(2);

fn agent(limit: Duration) -> Agent {
    Agent::config_builder().http_status_as_error(false).timeout_global(Some(limit)).build().new_agent()
}

/// A status and its JSON body (null where there was none).
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// The gateway of the installed chart.
#[derive(Clone, Debug)]
pub struct Gateway {
    base: String,
}

impl Gateway {
    /// The gateway's Service, found by its labels.
    pub fn installed() -> Self {
        let labels = "app.kubernetes.io/name=keystead,app.kubernetes.io/component=gateway";
        let services = get_json(&["services", "-A", "-l", labels]).expect("listing Services");
        let spec = services["items"]
            .as_array()
            .and_then(|items| {
                items.iter().map(|item| &item["spec"]).find(|spec| spec["ports"][0]["name"] == "http")
            })
            .expect("no Service of a gateway with a port named http: is the chart installed?");
        let address = spec["clusterIP"].as_str().expect("the Service has an address");
        Self { base: format!("http://{address}:{}", spec["ports"][0]["port"]) }
    }

    /// `http://address:port`
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; `Err` when no answer came.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, ureq::Error> {
        self.call_with(&AGENT, method, path, token, body)
    }

    fn call_with(
        &self,
        agent: &Agent,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = if let Some(body) = body {
            let request = request.header("Content-Type", "application/json");
            agent.run(request.body(body.to_string()).expect("a well-formed request"))?
        } else {
            agent.run(request.body(()).expect("a well-formed request"))?
        };
        let text = answer.body_mut().read_to_string()?;
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(json!(text)) };
        Ok(Answer { status: answer.status().as_u16(), body })
    }

    pub fn get(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path, Some(token), None).expect("the gateway answers")
    }

    pub fn put(&self, path: &str, token: &str, value: &Value) -> Answer {
        let body = json!({ "value": value });
        self.call("PUT", path, Some(token), Some(&body)).expect("the gateway answers")
    }

    /// Registers without a tenant; the answer may take as long as the new tenant.
    pub fn sign_up(&self, registration: &Value) -> Answer {
        let path = "/api/v1/auth/register";
        self.call_with(&agent(FOR_A_TENANT), "POST", path, None, Some(registration))
            .expect("the gateway answers")
    }

    /// Asks again, as any client does, where a busy machine's Redis did not answer in time. What is asked may be done twice.
    pub fn patiently(ask: impl Fn() -> Answer) -> Answer {
        within(Duration::from_mins(1), "Redis answers in time", || {
            let answer = ask();
            if matches!(answer.status, 503 | 504) { Err(answer) } else { Ok(answer) }
        })
    }

    /// Queues a job of this kind and waits until the tenant's worker has done it.
    pub fn job_done(&self, token: &str, kind: &str) -> Answer {
        let job = json!({ "kind": kind });
        let queued = Self::patiently(|| self.post("/api/v1/jobs", Some(token), &job));
        assert_eq!(queued.status, 202, "{queued:?}");
        let path = format!("/api/v1/jobs/{}", queued.body["id"].as_str().expect("an id"));
        eventually("the job is finished by the tenant's worker", || {
            let job = self.get(&path, token);
            if job.body["status"] == "succeeded" { Ok(job) } else { Err(job) }
        })
    }

    pub fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.call("POST", path, token, Some(body)).expect("the gateway answers")
    }
}
