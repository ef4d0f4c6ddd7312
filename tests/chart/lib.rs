//! The chart rendered by the real helm, as JSON. No cluster.
#![allow(clippy::expect_used, reason = "test equipment: a failed step ends the test")]

use std::{path::PathBuf, process::Output};

use keystead_cluster::tools::Tools;
use serde_json::Value;

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs helm on the chart: `helm <arguments> charts/keystead <options>`, at the root.
pub fn helm(arguments: &[&str], options: &[&str]) -> Output {
    let tools = Tools::only(&["helm"]).expect("helm can be built");
    tools
        .command("helm")
        .current_dir(root())
        .args(arguments)
        .arg("charts/keystead")
        .args(options)
        .output()
        .expect("helm starts")
}

/// The objects that these options render, or what helm says instead.
pub fn render(options: &[&str]) -> Result<Vec<Value>, String> {
    let fixed = ["--namespace", "keystead-system", "--kube-version", "1.36.0"];
    let output = helm(&["template", "keystead"], &[&fixed, options].concat());
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("helm writes UTF-8");
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).expect("helm writes YAML");
    Ok(documents.into_iter().flatten().collect())
}

/// The one object of this kind and name.
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found =
        objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found.next().expect("the object is rendered");
    assert!(found.next().is_none(), "{kind} {name} is rendered twice");
    object
}
