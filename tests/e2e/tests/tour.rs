//! The main job, as the README tells it: the example is applied as it is, a key comes back, a job is done.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::fs;

use keystead_e2e::{Gateway, Tenant, apply, get_json, kubectl, kubectl_ok};
use serde_json::json;

const MINIMAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tenant-minimal.yaml");

#[test]
fn the_minimal_example_serves_a_key_and_does_a_job() {
    let manifest = fs::read_to_string(MINIMAL).expect("the example is there");
    let first = apply(&manifest);
    assert!(first.success, "{}", first.stderr);
    let tenant = Tenant { name: "acme".into() };
    tenant.wait_ready();

    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, "ada");
    let token = &user.access_token;
    let value = json!({"text": "ü", "number": 1e300, "list": [1, null, true]});
    let written = gateway.put("/api/v1/kv/greeting", token, &value);
    // 200 where an earlier tour has left its data.
    assert!(matches!(written.status, 200 | 201), "{written:?}");
    let read = gateway.get("/t/acme/api/v1/kv/greeting", token);
    assert_eq!((read.status, &read.body["value"]), (200, &value), "{read:?}");

    let done = gateway.job_done(token, "kv.export");
    assert_eq!(done.body["attempts"], 1, "{done:?}");

    // Once more: nothing changes, and nothing would.
    let second = apply(&manifest);
    assert_eq!(second.stdout.trim(), "tenant.keystead.io/acme unchanged");
    let difference = kubectl(&["diff", "-f", MINIMAL], None);
    assert_eq!(difference.code, Some(0), "{}", difference.stdout);
    // The default keeps the data; this scenario must leave nothing for its next run.
    tenant.patch(&json!({"deletionPolicy": "Delete"}));
    tenant.delete();
}

#[test]
fn a_person_sees_the_state_in_kubectl_get() {
    let tenant = Tenant::ready("columns", &json!({}));
    let table = kubectl_ok(&["get", "kt", "columns"]);
    let (head, row) = table.trim().split_once('\n').expect("a head and a row");
    let words = |line: &str| line.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    assert_eq!(words(head), ["name", "topology", "ready", "phase", "version", "age"], "{table}");
    let row = words(row);
    assert_eq!(row[..4], ["columns", "standalone", "true", "ready"], "{table}");
    assert_eq!(get_json(&["tenant", "columns"]).unwrap()["status"]["endpoint"], "/t/columns/api/v1");
    drop(tenant);
}
