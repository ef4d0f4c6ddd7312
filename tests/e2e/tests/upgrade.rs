//! The life of the installation itself, with the real helm: upgraded under load, removed, installed again.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{
    fs,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use keystead_cluster::tools::Tools;
use keystead_e2e::{EndsWhenDropped, Gateway, Tenant, eventually, kubectl, kubectl_ok};
use serde_json::json;
use ureq::Agent;

const NAMESPACE: &str = "keystead-system";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/keystead");

/// There is one installation.
static ALONE: Mutex<()> = Mutex::new(());

fn helm(arguments: &[&str]) -> String {
    let tools = Tools::only(&["helm"]).expect("helm can be built");
    let mut command: Command = tools.command("helm");
    let output = command.args(arguments).args(["--namespace", NAMESPACE]).output().expect("helm starts");
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("helm writes UTF-8")
}

/// Another one for each run: a failed one leaves its Tenant behind.
fn username() -> String {
    format!("ada-{}", std::process::id())
}

fn gateways() -> Vec<String> {
    let selector = "app.kubernetes.io/name=keystead,app.kubernetes.io/component=gateway";
    let pods = kubectl_ok(&["get", "pods", "-n", NAMESPACE, "-l", selector, "-o", "name"]);
    pods.lines().map(str::to_owned).collect()
}

#[test]
fn an_upgrade_replaces_every_gateway_and_fails_no_request() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tenant = Tenant::ready("upgraded", &json!({}));
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, &username());
    let written = gateway.put("/api/v1/kv/k", &user.access_token, &json!(1));
    assert!(matches!(written.status, 200 | 201), "{written:?}");
    let address = ["get", "service", "keystead-gateway", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"];
    let url = format!("http://{}/t/upgraded/api/v1/kv/k", kubectl_ok(&address));
    let before = gateways();

    let done = AtomicBool::new(false);
    let (answered, failed) = thread::scope(|scope| {
        let client = scope.spawn(|| {
            // A connection for each request, as from many clients.
            let agent: Agent = Agent::config_builder()
                .timeout_global(Some(Duration::from_secs(10)))
                .max_idle_connections(0)
                .build()
                .into();
            let (mut answered, mut failed) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                let bearer = format!("Bearer {}", user.access_token);
                match agent.get(&url).header("Authorization", bearer).call() {
                    Ok(_) => answered += 1,
                    Err(error) => failed.push(error.to_string()),
                }
                thread::sleep(Duration::from_millis(20));
            }
            (answered, failed)
        });
        let client_ends = EndsWhenDropped(&done);
        let upgrade = ["upgrade", "keystead", CHART, "--reuse-values", "--wait", "--timeout", "3m"];
        helm(&[&upgrade[..], &["--set-string", "gateway.podAnnotations.upgraded=once"]].concat());
        eventually("the former gateways are gone", || {
            let left: Vec<String> = gateways().into_iter().filter(|pod| before.contains(pod)).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
        drop(client_ends);
        client.join().expect("the client ends")
    });
    assert!(failed.is_empty(), "{} of {} requests failed: {:?}", failed.len(), answered, failed.first());
    assert!(answered > 50, "only {answered} requests were made");
    helm(&["upgrade", "keystead", CHART, "--reuse-values", "--wait", "--set", "gateway.podAnnotations=null"]);
    tenant.delete();
}

#[test]
fn removing_the_chart_leaves_the_tenants_and_installing_it_again_serves_them() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tenant = Tenant::ready("outlives", &json!({}));
    let gateway = Gateway::installed();
    let user = tenant.register(&gateway, &username());
    let written = gateway.put("/api/v1/kv/k", &user.access_token, &json!("kept"));
    assert!(matches!(written.status, 200 | 201), "{written:?}");
    let values = std::env::temp_dir().join(format!("keystead-values-{}.yaml", std::process::id()));
    fs::write(&values, helm(&["get", "values", "keystead", "--output", "yaml"])).unwrap();

    helm(&["uninstall", "keystead", "--wait", "--timeout", "2m"]);
    let left = kubectl_ok(&["get", "clusterrole,clusterrolebinding", "-o", "name"]);
    assert!(!left.contains("keystead"), "{left}");
    let left =
        kubectl_ok(&["get", "deploy,svc,sa,role,rolebinding,hpa,pdb,netpol", "-n", NAMESPACE, "-o", "name"]);
    assert!(!left.contains("keystead"), "{left}");
    tenant.wait_ready();
    assert_eq!(tenant.field("statefulset", "redis", "/status/readyReplicas"), 1);

    let file = values.display().to_string();
    helm(&["install", "keystead", CHART, "--values", &file, "--wait", "--timeout", "3m"]);
    fs::remove_file(&values).unwrap();
    let read = eventually("the gateway serves the tenant again", || {
        let answer = Gateway::installed().call("GET", "/api/v1/kv/k", Some(&user.access_token), None);
        match answer {
            Ok(answer) if answer.status == 200 => Ok(answer),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(read.body["value"], "kept");
    tenant.delete();
}

#[test]
fn the_api_server_would_admit_every_pod_of_the_chart_as_restricted() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    // Other than it is, or the API server does not look.
    let other = kubectl(
        &["label", "namespace", NAMESPACE, "--overwrite", "pod-security.kubernetes.io/enforce=privileged"],
        None,
    );
    assert!(other.success, "{}", other.stderr);
    let output = kubectl(&["label", "namespace", NAMESPACE, "--overwrite", enforce], None);
    assert!(output.success && !output.stderr.contains("existing pods"), "{}", output.stderr);
}

#[test]
fn the_service_accounts_may_do_what_they_need_and_nothing_beside() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let may = |account: &str, question: &[&str]| {
        let user = format!("--as=system:serviceaccount:{NAMESPACE}:keystead-{account}");
        kubectl(&[&["auth", "can-i", user.as_str()], question].concat(), None).success
    };
    let own = ["list", "secrets", "-n", NAMESPACE];
    assert!(may("gateway", &own));
    for question in [
        &["list", "secrets", "-n", "default"][..],
        &["update", "secrets", "-n", NAMESPACE],
        &["list", "pods", "-n", NAMESPACE],
        &["update", "tenants.keystead.io"],
    ] {
        assert!(!may("gateway", question), "{question:?}");
    }
    assert!(may("operator", &["create", "statefulsets.apps", "-n", "tenant-x"]));
    for question in [
        &["create", "pods", "-n", "tenant-x"][..],
        &["create", "pods/exec", "-n", "tenant-x"],
        &["create", "clusterrolebindings.rbac.authorization.k8s.io"],
        &["delete", "customresourcedefinitions.apiextensions.k8s.io"],
        &["delete", "nodes"],
        &["delete", "tenants.keystead.io"],
    ] {
        assert!(!may("operator", question), "{question:?}");
    }
}
