//! kubectl as a user runs it.

use std::{
    env,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::Value;

/// What a call printed.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs kubectl; `input` goes to its standard input.
pub fn kubectl(arguments: &[&str], input: Option<&str>) -> Output {
    assert!(
        env::var_os("KUBECONFIG").is_some(),
        "KUBECONFIG must name a cluster with Keystead installed: `cargo xtask test` does it all"
    );
    let program = env::var("KEYSTEAD_KUBECTL").unwrap_or_else(|_| "kubectl".into());
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting {program}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.unwrap_or_default().as_bytes()).expect("writing to kubectl");
    drop(stdin);
    let output = child.wait_with_output().expect("waiting for kubectl");
    Output {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs kubectl and gives what it printed; panics with its message when it fails.
pub fn kubectl_ok(arguments: &[&str]) -> String {
    let output = kubectl(arguments, None);
    assert!(output.success, "kubectl {}: {}", arguments.join(" "), output.stderr);
    output.stdout
}

/// `kubectl apply -f -`.
pub fn apply(manifest: &str) -> Output {
    kubectl(&["apply", "-f", "-"], Some(manifest))
}

/// `kubectl delete`, without waiting; nothing there is no error.
pub fn delete(kind: &str, name: &str) {
    kubectl_ok(&["delete", kind, name, "--ignore-not-found", "--wait=false"]);
}

/// `kubectl get … -o json`, or what kubectl says instead.
pub fn get_json(arguments: &[&str]) -> Result<Value, String> {
    let output = kubectl(&[&["get", "-o", "json"], arguments].concat(), None);
    if output.success {
        serde_json::from_str(&output.stdout).map_err(|error| error.to_string())
    } else {
        Err(output.stderr)
    }
}
