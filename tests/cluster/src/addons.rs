//! DNS, metrics and storage, as processes of the host.

use std::{fs, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    cluster::{ADDRESS, Cluster},
    images::BASE,
    processes,
    shell::{run, run_with_input, wait_for},
};

pub(crate) fn start(cluster: &Cluster) -> Result<()> {
    let state = &cluster.state;
    let admin = cluster.kubeconfig();
    let admin = admin.display();
    apply(cluster, &[storage(&state.join("volumes").display().to_string()), metrics()].concat())?;

    let corefile = format!(
        ".:53 {{\n  bind {ADDRESS}\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {admin}\n    pods insecure\n    ttl 5\n  }}\n  cache 5\n}}\n"
    );
    fs::write(state.join("etc/Corefile"), corefile)?;
    processes::start(
        state,
        "coredns",
        cluster.tools.command("coredns").arg("-conf").arg(state.join("etc/Corefile")),
    )?;

    processes::start(
        state,
        "metrics-server",
        cluster.tools.command("metrics-server").args([
            &format!("--kubeconfig={admin}"),
            &format!("--authentication-kubeconfig={admin}"),
            &format!("--authorization-kubeconfig={admin}"),
            &format!("--bind-address={ADDRESS}"),
            "--secure-port=10443",
            &format!("--cert-dir={}", state.join("metrics-server").display()),
            "--kubelet-insecure-tls",
            "--kubelet-preferred-address-types=InternalIP",
            // The resolution must exceed the time-out.
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",
        ]),
    )?;
    processes::start(
        state,
        "local-path-provisioner",
        cluster
            .tools
            .command("local-path-provisioner")
            .args(["start", "--config"])
            .arg(state.join("etc/local-path.json"))
            .args(["--kubeconfig", &admin.to_string(), "--namespace", "local-path-storage"])
            .args(["--helper-image", BASE, "--configmap-name", "local-path-config"])
            .args(["--service-account-name", "default"]),
    )?;
    wait_for("the addons run", Duration::from_secs(10), || {
        for name in ["coredns", "metrics-server", "local-path-provisioner"] {
            processes::check(state, name)?;
        }
        Ok(())
    })
}

fn apply(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let paths = objects.iter().find_map(|object| object["data"]["config.json"].as_str());
    fs::write(cluster.state.join("etc/local-path.json"), paths.unwrap_or_default())?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    run_with_input(cluster.kubectl().args(["apply", "-f", "-"]), &list.to_string())?;
    run(cluster.kubectl().args(["label", "node", "node", "--overwrite", "topology.kubernetes.io/zone=local"]))
        .map(drop)
}

fn storage(volumes: &str) -> Vec<Value> {
    let config = json!({"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [volumes]}]});
    let helper = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "helper-pod"}, "spec": {
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "helper-pod", "image": BASE, "imagePullPolicy": "IfNotPresent"}]}});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "local-path-storage"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "local-path-config", "namespace": "local-path-storage"},
        "data": {
            "config.json": config.to_string(),
            "setup": "#!/bin/sh\nset -eu\nmkdir -m 0777 -p \"$VOL_DIR\"\n",
            "teardown": "#!/bin/sh\nset -eu\nrm -rf \"$VOL_DIR\"\n",
            "helperPod.yaml": helper.to_string(),
        }}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "rancher.io/local-path", "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete"}),
    ]
}

fn metrics() -> Vec<Value> {
    let meta = json!({"name": "metrics-server", "namespace": "kube-system"});
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"ports": [{"port": 443, "targetPort": 10443}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "metrics-server", "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "metrics-server"}},
            "addressType": "IPv4", "ports": [{"port": 10443}], "endpoints": [{"addresses": [ADDRESS]}]}),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
                "versionPriority": 100, "insecureSkipTLSVerify": true,
                "service": {"name": "metrics-server", "namespace": "kube-system"}}}),
    ]
}
