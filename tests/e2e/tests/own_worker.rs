//! A worker image of the tenant's own takes its jobs: the example in Python, built from its Dockerfile as it stands.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{path::Path, time::Duration};

use keystead_cluster::{Cluster, images};
use keystead_e2e::{Gateway, Tenant, kubectl_ok, within};
use serde_json::json;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const IMAGE: &str = "registry.example.com/worker-python:1";

/// Builds the example and gives it to the cluster's node, as a registry would.
fn give_image() {
    let root = Path::new(ROOT);
    let example = root.join("examples/worker-python");
    let mut inputs: Vec<_> = ["requirements.txt", "worker.py"].map(|name| example.join(name)).into();
    let scripts = root.join("docs/queue").read_dir().expect("docs/queue");
    inputs.extend(scripts.map(|script| script.expect("docs/queue").path()));
    inputs.sort();
    images::ensure_python().expect("an image with Python");
    let image =
        images::build(IMAGE, &example.join("Dockerfile"), root, &inputs, &[]).expect("the example's image");
    images::load(&Cluster::attach().expect("the local cluster"), &image)
        .expect("loading the example's image");
}

#[test]
fn a_worker_in_python_takes_the_jobs() {
    give_image();
    let tenant = Tenant::ready("python", &json!({"worker": {"image": IMAGE}}));
    let gateway = Gateway::installed();
    let ada = tenant.register(&gateway, "ada");
    let queue = |payload| {
        let queued = gateway.post(
            "/api/v1/jobs",
            Some(&ada.access_token),
            &json!({"kind": "greet", "payload": payload}),
        );
        assert_eq!(queued.status, 202, "a kind that only this image knows: {queued:?}");
        format!("/api/v1/jobs/{}", queued.body["id"].as_str().expect("an id"))
    };
    let ended = |path: &str, status: &str| {
        within(Duration::from_mins(2), "the job ends", || {
            let job = gateway.get(path, &ada.access_token);
            if job.body["status"] == status { Ok(job.body) } else { Err(job) }
        })
    };
    let done = ended(&queue(json!({"name": "Grace"})), "succeeded");
    assert_eq!(done["result"], json!({"greeting": "Hello, Grace!"}), "{done}");

    // One that ends without notice in the middle of a job: another finishes it.
    let path = queue(json!({"name": "Alan", "seconds": 20}));
    ended(&path, "running");
    let (worker, _) = tenant.pod("worker");
    kubectl_ok(&["delete", "pod", &worker, "-n", &tenant.namespace(), "--grace-period=0", "--force"]);
    let done = ended(&path, "succeeded");
    assert_eq!(
        (&done["result"], &done["attempts"]),
        (&json!({"greeting": "Hello, Alan!"}), &json!(2)),
        "{done}"
    );
}
