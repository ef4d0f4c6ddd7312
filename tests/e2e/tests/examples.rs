//! Every example is applied as it is.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::fs;

use keystead_cluster::tools::Tools;
use keystead_e2e::{Tenant, apply, kubectl, kubectl_ok};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Applies an example, waits until it is Ready, applies it again: nothing changes.
#[track_caller]
fn serves(name: &str) {
    let path = format!("{ROOT}/examples/tenant-{name}.yaml");
    let manifest = fs::read_to_string(&path).expect("the example is there");
    let first = apply(&manifest);
    assert!(first.success, "{}", first.stderr);
    let tenant = Tenant { name: name.into() };
    tenant.wait_ready();
    assert_eq!(apply(&manifest).stdout.trim(), format!("tenant.keystead.io/{name} unchanged"));
    let difference = kubectl(&["diff", "-f", &path], None);
    assert_eq!(difference.code, Some(0), "{}", difference.stdout);
    let delete = r#"{"spec":{"deletionPolicy":"Delete"}}"#;
    kubectl_ok(&["patch", "tenant", name, "--type=merge", "-p", delete]);
    tenant.delete();
}

#[test]
fn the_full_example_works() {
    serves("full");
}

#[test]
fn the_cluster_example_works() {
    serves("cluster");
}

#[test]
fn the_isolated_example_works() {
    serves("isolated");
}

/// Its nodes and registry are not here: the API server checks each object.
#[test]
fn the_api_server_takes_every_object_of_the_production_values() {
    let tools = Tools::only(&["helm"]).expect("helm can be built");
    let output = tools
        .command("helm")
        .args(["template", "production", "charts/keystead", "--namespace", "keystead-system"])
        .args(["--values", "examples/values-production.yaml", "--kube-version", "1.36.0"])
        .args(["--set", "crds.install=false"])
        .current_dir(ROOT)
        .output()
        .expect("helm starts");
    let manifest = String::from_utf8(output.stdout).expect("helm writes UTF-8");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checked = kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", "-"], Some(&manifest));
    assert!(checked.success, "{}", checked.stderr);
}
