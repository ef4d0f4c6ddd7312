//! What the chart has installed: the operator that is away, and where the gateway is.

use keystead_e2e::{eventually, get_json, kubectl, kubectl_ok};
use serde_json::Value;

const LABELS: &str = "app.kubernetes.io/name=keystead,app.kubernetes.io/component=";

/// No operator runs until this is dropped.
#[derive(Debug)]
pub(super) struct NoOperator {
    namespace: String,
    name: String,
    replicas: String,
}

impl NoOperator {
    pub(super) fn new() -> Self {
        let deployments = installed("deployments", "operator");
        let deployment = deployments.first().expect("the operator's Deployment");
        let text =
            |pointer: &str| deployment.pointer(pointer).and_then(Value::as_str).expect("a name").to_owned();
        let away = Self {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            replicas: deployment["spec"]["replicas"].to_string(),
        };
        kubectl_ok(&away.scale("0"));
        eventually("no operator runs", || match installed("pods", "operator").len() {
            0 => Ok(()),
            left => Err(format!("{left} pods")),
        });
        away
    }

    fn scale<'a>(&'a self, replicas: &'a str) -> [&'a str; 7] {
        ["scale", "deployment", &self.name, "-n", &self.namespace, "--replicas", replicas]
    }
}

impl Drop for NoOperator {
    fn drop(&mut self) {
        // Without a panic on top of the test's own.
        let output = kubectl(&self.scale(&self.replicas), None);
        if !output.success {
            eprintln!("the operator stays away: {}", output.stderr);
        }
    }
}

/// The addresses of the gateway's pods.
pub(super) fn gateway_addresses() -> Vec<String> {
    let pods = installed("pods", "gateway");
    pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned)).collect()
}

fn installed(kind: &str, component: &str) -> Vec<Value> {
    let list =
        get_json(&[kind, "-A", "-l", &format!("{LABELS}{component}")]).expect("listing what is installed");
    list["items"].as_array().cloned().unwrap_or_default()
}
