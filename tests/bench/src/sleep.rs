//! Many tenants that sleep, of which one after the other is woken by a GET, in turn with a bare Redis pod that is started from
//! zero, on the same cluster.
//!
//! A wake-up is timed at the client: from sending the GET to its answer with the value, a 503 `tenant_waking` being asked again
//! at once. The bare pod is timed from `kubectl scale` to the end of `kubectl wait`; kubectl's own start-up is measured and taken off.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use ureq::{Agent, http};

use crate::{
    ready::{apply, bare, gone, shown},
    report::median,
};

/// For all tenants to be made, or to fall asleep: a minute after they were used, and one more in which that may not be noted.
const PATIENCE: Duration = Duration::from_mins(30);
const PASSWORD: &str = "Correct-horse-7";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder for `sleep.json`.
    #[arg(long)]
    out: PathBuf,
    /// Tenants that sleep.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    tenants: u32,
    /// How many of them are made at the same time: each has a pod or two while it is awake.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    at_once: u32,
    /// How many of them are woken, one after the other; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    /// Image of the bare Redis: the one that the Tenants get.
    #[arg(long, default_value = "docker.io/library/redis:7.0")]
    image: String,
    /// Leaves the tenants where they are.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.repetitions <= arguments.tenants, "more wake-ups than tenants");
    let gateway = gateway()?;
    let names: Vec<String> = (0..arguments.tenants).map(|number| format!("bench-sleep-{number}")).collect();
    let mut tokens = Vec::new();
    for group in names.chunks(arguments.at_once as usize) {
        for name in group {
            apply(&manifest(name))?;
        }
        for name in group {
            shown(&["wait", "--for=condition=Ready", &format!("tenant/{name}"), "--timeout=300s"], None)?;
            tokens.push(fill(&gateway, name)?);
        }
        wait_asleep(group)?;
        eprintln!("{} of {} sleep", tokens.len(), names.len());
    }
    let (pods, volumes) = (of_tenants("pods")?, of_tenants("persistentvolumeclaims")?);
    apply(&bare(&arguments.image, false))?;
    bare_is(1)?;
    let (mut woken, mut started) = (Vec::new(), Vec::new());
    for (name, token) in names.iter().zip(&tokens).take(arguments.repetitions as usize) {
        started.push(time_bare()?);
        woken.push(time_wake(&gateway, token).with_context(|| format!("waking {name}"))?);
        eprintln!("bare pod {:.2} s  wake-up {:.2} s", started[started.len() - 1], woken[woken.len() - 1]);
    }
    let (bare_median, wake_median) = (median(started.iter().copied()), median(woken.iter().copied()));
    let ratio = wake_median / bare_median;
    println!(
        "{} tenants asleep with {pods} pods and {volumes} volumes; median: bare pod {bare_median:.2} s, wake-up {wake_median:.2} s, ratio {ratio:.2}",
        names.len()
    );
    let report = json!({
        "tenants": names.len(), "pods_while_asleep": pods, "volumes_while_asleep": volumes,
        "bare_seconds": started, "wake_seconds": woken,
        "bare_median": bare_median, "wake_median": wake_median, "ratio": ratio,
    });
    std::fs::create_dir_all(&arguments.out)?;
    std::fs::write(arguments.out.join("sleep.json"), serde_json::to_string_pretty(&report)? + "\n")?;
    shown(&["delete", "namespace", "bench-bare"], None)?;
    if !arguments.keep {
        for name in &names {
            shown(&["delete", "tenant", name, "--wait=false"], None)?;
        }
        for name in &names {
            gone(&format!("tenant-{name}"))?;
        }
    }
    Ok(())
}

/// How many of a kind there are in the namespaces of these tenants.
fn of_tenants(kind: &str) -> Result<usize> {
    let namespaces = "custom-columns=:.metadata.namespace";
    let all = shown(&["get", kind, "-A", "--no-headers", "-o", namespaces], None)?;
    Ok(all.lines().filter(|namespace| namespace.starts_with("tenant-bench-sleep-")).count())
}

fn manifest(name: &str) -> Value {
    json!({
        "apiVersion": "keystead.io/v1alpha1", "kind": "Tenant", "metadata": {"name": name},
        "spec": {
            "deletionPolicy": "Delete", "hibernation": {"idleAfter": "1m"},
            "auth": {"signUp": "Open", "accessTokenTtl": "24h"}, "limits": {"defaultTtlSeconds": 0},
        },
    })
}

/// `http://address:port` of the installed gateway.
fn gateway() -> Result<String> {
    let labels = "app.kubernetes.io/name=keystead,app.kubernetes.io/component=gateway";
    let services: Value =
        serde_json::from_str(&shown(&["get", "services", "-A", "-l", labels, "-o", "json"], None)?)?;
    let specs = services["items"].as_array().into_iter().flatten().map(|item| &item["spec"]);
    let spec = specs.into_iter().find(|spec| spec["ports"][0]["name"] == "http");
    let spec = spec.context("no Service of a gateway: is the chart installed?")?;
    let address = spec["clusterIP"].as_str().context("its Service has no address")?;
    Ok(format!("http://{address}:{}", spec["ports"][0]["port"]))
}

/// Status and body of an answer.
fn ask(
    gateway: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .new_agent();
    let mut request = http::Request::builder().method(method).uri(format!("{gateway}{path}"));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut answer = match body {
        Some(body) => {
            agent.run(request.header("Content-Type", "application/json").body(body.to_string())?)?
        }
        None => agent.run(request.body(())?)?,
    };
    let text = answer.body_mut().read_to_string()?;
    Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// Registers a user and writes an entry; gives the token.
fn fill(gateway: &str, name: &str) -> Result<String> {
    let user = json!({"tenant": name, "username": "ada", "email": "ada@example.com", "password": PASSWORD});
    let started = Instant::now();
    let token = loop {
        let (status, body) = ask(gateway, "POST", "/api/v1/auth/register", None, Some(&user))?;
        if let (201, Some(token)) = (status, body["access_token"].as_str()) {
            break token.to_owned();
        }
        ensure!(started.elapsed() < Duration::from_secs(30), "registering at {name}: {status} {body}");
        thread::sleep(Duration::from_millis(200));
    };
    let value = json!({"value": name});
    let (status, body) = ask(gateway, "PUT", "/api/v1/kv/k", Some(&token), Some(&value))?;
    ensure!(status == 201, "writing at {name}: {status} {body}");
    Ok(token)
}

fn wait_asleep(names: &[String]) -> Result<()> {
    let started = Instant::now();
    for name in names {
        let phase = ["get", "tenant", name, "-o", "jsonpath={.status.phase}"];
        while shown(&phase, None)? != "Sleeping" {
            ensure!(started.elapsed() < PATIENCE, "{name} does not fall asleep");
            thread::sleep(Duration::from_secs(1));
        }
        // Also its last pod is gone.
        shown(&["wait", "--for=condition=Ready", &format!("tenant/{name}"), "--timeout=120s"], None)?;
    }
    Ok(())
}

fn time_wake(gateway: &str, token: &str) -> Result<f64> {
    let started = Instant::now();
    loop {
        let (status, body) = ask(gateway, "GET", "/api/v1/kv/k", Some(token), None)?;
        match status {
            200 => return Ok(started.elapsed().as_secs_f64()),
            503 if body["code"] == "tenant_waking" && started.elapsed() < Duration::from_mins(2) => {}
            _ => bail!("{status} {body}"),
        }
    }
}

/// From zero to ready, without what kubectl takes to start twice.
fn time_bare() -> Result<f64> {
    scale_bare(0)?;
    bare_is(0)?;
    let asked = Instant::now();
    shown(&["get", "namespace", "bench-bare"], None)?;
    let of_kubectl = asked.elapsed();
    let started = Instant::now();
    scale_bare(1)?;
    bare_is(1)?;
    Ok(started.elapsed().saturating_sub(of_kubectl * 2).as_secs_f64())
}

fn scale_bare(replicas: u32) -> Result<()> {
    shown(&["scale", "statefulset/redis", "-n", "bench-bare", &format!("--replicas={replicas}")], None)?;
    Ok(())
}

fn bare_is(ready: u32) -> Result<()> {
    let condition = match ready {
        0 => ["--for=delete", "pod/redis-0"],
        _ => ["--for=jsonpath={.status.readyReplicas}=1", "statefulset/redis"],
    };
    shown(&[&["wait"], &condition[..], &["-n", "bench-bare", "--timeout=120s"]].concat(), None)?;
    Ok(())
}
