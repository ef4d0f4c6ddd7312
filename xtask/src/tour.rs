//! The tour: what a newcomer would do by hand, each step with the command that repeats it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use keystead_cluster::shell::{run, step, wait_for};
use serde_json::{Value, json};
use ureq::{Agent, http::Request};

use crate::{
    install::{Access, NAMESPACE},
    root,
};

const TENANT: &str = "acme";
const EXAMPLE: &str = "examples/tenant-minimal.yaml";

fn run_kubectl(access: &Access, arguments: &[&str]) -> Result<String> {
    run(access.kubectl().current_dir(root()).args(arguments))
}

pub(crate) fn tour(access: &Access) -> Result<()> {
    step(&format!("kubectl apply -f {EXAMPLE}"), || run_kubectl(access, &["apply", "-f", EXAMPLE]))?;
    step(&format!("kubectl wait --for=condition=Ready tenant/{TENANT}"), || {
        let resource = format!("tenant/{TENANT}");
        let waited = run_kubectl(access, &["wait", "--for=condition=Ready", &resource, "--timeout=120s"]);
        waited.map_err(|error| match run_kubectl(access, &["describe", "tenant", TENANT]) {
            Ok(description) => error.context(description),
            Err(_) => error,
        })
    })?;
    let forward = Forward::open(access)?;
    let api = format!("http://127.0.0.1:{}/api/v1", forward.port);
    let client = Client { api: api.clone(), agent: agent() };

    // Another name each time, so that `up` can be repeated.
    let seconds = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let user = json!({
        "tenant": TENANT, "username": format!("ada-{seconds}"), "email": format!("ada-{seconds}@example.com"),
        "password": "Correct-horse-7",
    });
    let json_type = "-H 'Content-Type: application/json'";
    let tokens = step(&format!("curl -s $API/auth/register {json_type} -d '{user}'"), || {
        wait_for("the gateway has the tenant's route", Duration::from_secs(20), || {
            client.call("POST", "/auth/register", None, Some(&user), 201)
        })
    })?;
    let token = tokens["access_token"].as_str().context("the answer has no access_token")?;
    let entry = json!({"value": {"hello": "world"}, "ttl": 600});
    let bearer = "-H \"Authorization: Bearer $TOKEN\"";
    step(&format!("curl -s -X PUT $API/kv/greeting {bearer} {json_type} -d '{entry}'"), || {
        client.call("PUT", "/kv/greeting", Some(token), Some(&entry), 0)
    })?;
    let read = step(&format!("curl -s $API/kv/greeting {bearer}"), || {
        client.call("GET", "/kv/greeting", Some(token), None, 200)
    })?;
    ensure!(read["value"] == entry["value"], "another value came back: {read}");
    let job = json!({"kind": "kv.export"});
    let queued = step(&format!("curl -s $API/jobs {bearer} {json_type} -d '{job}'"), || {
        client.call("POST", "/jobs", Some(token), Some(&job), 202)
    })?;
    let id = queued["id"].as_str().context("the answer has no id")?;
    let done = step(&format!("curl -s $API/jobs/{id} {bearer}"), || {
        wait_for("the job is finished by the tenant's worker", Duration::from_mins(1), || {
            let job = client.call("GET", &format!("/jobs/{id}"), Some(token), None, 200)?;
            ensure!(job["status"] == "succeeded", "it is {job}");
            Ok(job)
        })
    })?;
    println!("\nA key came back: {}", read["value"]);
    println!("A job is done:   {} in {}'s worker, {}", done["kind"], TENANT, done["result"]);
    println!("\nTo go on by hand:\n  {}", access.preamble());
    println!("  kubectl -n {NAMESPACE} port-forward svc/keystead-gateway 8080:80 &");
    println!("  API=http://127.0.0.1:8080/api/v1\n  TOKEN={token}\n  curl -s $API/kv/greeting {bearer}");
    println!("\n`cargo xtask down` takes it all away.");
    Ok(())
}

struct Client {
    api: String,
    agent: Agent,
}

impl Client {
    /// The JSON of an answer with this status; 0: any success.
    fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
        status: u16,
    ) -> Result<Value> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.api));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = match body {
            Some(body) => {
                self.agent.run(request.header("Content-Type", "application/json").body(body.to_string())?)?
            }
            None => self.agent.run(request.body(())?)?,
        };
        let text = answer.body_mut().read_to_string()?;
        let right =
            if status == 0 { answer.status().is_success() } else { answer.status().as_u16() == status };
        if !right {
            bail!("{method} {path} was answered {}: {text}", answer.status());
        }
        Ok(serde_json::from_str(&text)?)
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent()
}

/// `kubectl port-forward` to the gateway, ended when dropped.
struct Forward {
    child: Child,
    port: u16,
}

impl Forward {
    fn open(access: &Access) -> Result<Self> {
        let mut child = access
            .kubectl()
            .args(["--namespace", NAMESPACE, "port-forward", "service/keystead-gateway", ":80"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("starting kubectl port-forward")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("kubectl has no output")?;
        let mut lines = BufReader::new(stdout);
        lines.read_line(&mut line)?;
        // It goes on to tell of each connection, and would end if nobody read that.
        thread::spawn(move || lines.lines().map_while(Result::ok).for_each(drop));
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        if let Some(port) = port {
            return Ok(Self { child, port });
        }
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
        bail!("kubectl port-forward says {line:?} instead of a port")
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
