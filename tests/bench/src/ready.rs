//! Apply → Ready of a Tenant, and of a bare Redis StatefulSet with a volume, in turn on the same cluster.
//!
//! Both are timed from the start of `kubectl apply` to the end of `kubectl wait`, so that kubectl's own start-up
//! counts alike. The bare one has what a person would write: a Service, a StatefulSet of one, a PVC, a readiness probe.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::report::median;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder for `ready.json`.
    #[arg(long)]
    out: PathBuf,
    /// How often each is applied; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    repetitions: u32,
    /// Image of the bare Redis: the one that the Tenant gets.
    #[arg(long, default_value = "docker.io/library/redis:7.0")]
    image: String,
    /// Both without a volume: what the storage provisioner takes is left out.
    #[arg(long)]
    ephemeral: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (mut bare, mut tenant) = (Vec::new(), Vec::new());
    for repetition in 1..=arguments.repetitions {
        bare.push(time_bare(&arguments.image, arguments.ephemeral)?);
        tenant.push(time_tenant(arguments.ephemeral)?);
        eprintln!(
            "{repetition}/{}  bare StatefulSet {:.2} s  Tenant {:.2} s",
            arguments.repetitions,
            bare[bare.len() - 1],
            tenant[tenant.len() - 1]
        );
    }
    let (bare_median, tenant_median) = (median(bare.iter().copied()), median(tenant.iter().copied()));
    let ratio = tenant_median / bare_median;
    println!("median: bare StatefulSet {bare_median:.2} s, Tenant {tenant_median:.2} s, ratio {ratio:.2}");
    let report = json!({
        "bare_seconds": bare, "tenant_seconds": tenant,
        "bare_median": bare_median, "tenant_median": tenant_median, "ratio": ratio,
    });
    let file = if arguments.ephemeral { "ready-ephemeral.json" } else { "ready.json" };
    std::fs::create_dir_all(&arguments.out)?;
    std::fs::write(arguments.out.join(file), serde_json::to_string_pretty(&report)? + "\n")?;
    Ok(())
}

fn time_tenant(ephemeral: bool) -> Result<f64> {
    let manifest = json!({
        "apiVersion": "keystead.io/v1alpha1", "kind": "Tenant", "metadata": {"name": "bench-ready"},
        "spec": {"deletionPolicy": "Delete", "redis": {"storage": {"ephemeral": ephemeral}}},
    });
    let started = Instant::now();
    apply(&manifest)?;
    kubectl(&["wait", "--for=condition=Ready", "tenant/bench-ready", "--timeout=120s"], None)?;
    let seconds = started.elapsed().as_secs_f64();
    kubectl(&["delete", "tenant", "bench-ready"], None)?;
    gone("tenant-bench-ready")?;
    Ok(seconds)
}

fn time_bare(image: &str, ephemeral: bool) -> Result<f64> {
    let started = Instant::now();
    apply(&bare(image, ephemeral))?;
    let ready = "--for=jsonpath={.status.readyReplicas}=1";
    kubectl(&["wait", ready, "statefulset/redis", "-n", "bench-bare", "--timeout=120s"], None)?;
    let seconds = started.elapsed().as_secs_f64();
    kubectl(&["delete", "namespace", "bench-bare"], None)?;
    gone("bench-bare")?;
    Ok(seconds)
}

pub(crate) fn bare(image: &str, ephemeral: bool) -> Value {
    let labels = json!({"app": "bare"});
    let append_only = if ephemeral { "no" } else { "yes" };
    let mut pod = json!({"containers": [{
        "name": "redis", "image": image,
        "command": ["redis-server", "--appendonly", append_only, "--dir", "/data", "--protected-mode", "no"],
        "readinessProbe": {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }]});
    let mut claims = json!([]);
    if ephemeral {
        pod["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    } else {
        claims = json!([{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    }
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench-bare"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis", "namespace": "bench-bare"},
         "spec": {"selector": labels, "ports": [{"port": 6379}]}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "redis", "namespace": "bench-bare"},
         "spec": {"serviceName": "redis", "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod}, "volumeClaimTemplates": claims}},
    ]})
}

pub(crate) fn apply(manifest: &Value) -> Result<()> {
    kubectl(&["apply", "-f", "-"], Some(&manifest.to_string()))
}

/// Waits until the namespace is gone: the next round must not find it.
pub(crate) fn gone(namespace: &str) -> Result<()> {
    let started = Instant::now();
    while kubectl(&["get", "namespace", namespace], None).is_ok() {
        ensure!(started.elapsed() < Duration::from_mins(2), "the namespace {namespace} does not go");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn kubectl(arguments: &[&str], input: Option<&str>) -> Result<()> {
    shown(arguments, input).map(drop)
}

/// What kubectl prints.
pub(crate) fn shown(arguments: &[&str], input: Option<&str>) -> Result<String> {
    let program = std::env::var("KEYSTEAD_KUBECTL").unwrap_or_else(|_| "kubectl".into());
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.unwrap_or_default().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
