//! Tenants of one's own, on a real etcd and apiserver with the definition of Tenants, through gateways that have the chart's
//! permissions and no more. No operator runs here: these tests play its part and write the route of a new Tenant, to a
//! real Redis, when they see it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use client::{Answer, Client, code, eventually, refused_start};
use keystead_cluster::{api_server::ApiServer, shell::run};
use keystead_route::{ROUTE_LABEL, SECRET_KEY};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAMESPACE: &str = "keystead-system";
const BINARY: &str = env!("CARGO_BIN_EXE_keystead-gateway");
const REGISTER: &str = "/api/v1/auth/register";
const PASSWORD: &str = "Correct-horse-7";

/// What the chart and an operator find in a cluster.
struct Kubernetes {
    server: ApiServer,
    kubeconfig: PathBuf,
    folder: TempDir,
}

impl Kubernetes {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = ApiServer::start(folder.path()).unwrap();
        let definition = fs::read_to_string(keystead_chart::root().join("crds/yaml/tenants.yaml")).unwrap();
        server.apply(&definition).unwrap();
        run(server.kubectl().args([
            "wait",
            "--for=condition=Established",
            "crd/tenants.keystead.io",
            "--timeout=60s",
        ]))
        .unwrap();
        run(server.kubectl().args(["create", "namespace", NAMESPACE])).unwrap();
        let rendered = keystead_chart::render(&["--set", "gateway.signUp.enabled=true"]).unwrap();
        let kinds = ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
        let mut permissions = 0;
        for mut object in rendered {
            let is_of_gateway = object["metadata"]["name"] == "keystead-gateway";
            if !is_of_gateway || !kinds.iter().any(|kind| object["kind"] == *kind) {
                continue;
            }
            if !object["kind"].as_str().unwrap().starts_with("Cluster") {
                object["metadata"]["namespace"] = json!(NAMESPACE);
            }
            server.apply(&object.to_string()).unwrap();
            permissions += 1;
        }
        assert_eq!(permissions, kinds.len());
        let kubeconfig = server.kubeconfig_of(NAMESPACE, "keystead-gateway").unwrap();
        Self { server, kubeconfig, folder }
    }

    fn gateway(&self, template: &str, arguments: &[&str]) -> Gateway {
        let file = tempfile::NamedTempFile::new_in(&self.folder).unwrap();
        let (_, path) = file.keep().unwrap();
        fs::write(&path, template).unwrap();
        let path = path.display().to_string();
        // One thread: a request that waits must not hold up others.
        let all = [&["--threads", "1", "--sign-up-template", &path], arguments].concat();
        Gateway::start_on_kubernetes(Path::new(BINARY), &self.kubeconfig, NAMESPACE, &all)
    }

    fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let mut kubectl = self.server.kubectl();
        kubectl.args(["get", "-o", "json", "-l", "keystead.io/sign-up=true"]).args(arguments);
        let list: Value = serde_json::from_str(&run(&mut kubectl).unwrap()).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    fn tenants(&self) -> Vec<Value> {
        self.list(&["tenants"])
    }

    /// The names of the Secrets of sign-ups.
    fn pending(&self) -> Vec<String> {
        let secrets = self.list(&["secrets", "-n", NAMESPACE]);
        secrets.iter().map(|secret| secret["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The next Tenant that is made.
    fn next_tenant(&self, known: &[&str]) -> Value {
        eventually(|| {
            self.tenants()
                .into_iter()
                .find(|tenant| !known.iter().any(|known| tenant["metadata"]["name"] == *known))
        })
    }

    /// The operator's part: a Redis, and the route to it.
    fn provision(&self, tenant: &str) -> Server {
        let redis = Server::start();
        let document = route(tenant, &redis.address()).to_json();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("route-{tenant}"), "namespace": NAMESPACE, "labels": {ROUTE_LABEL: "true"}},
            "stringData": {SECRET_KEY: document},
        });
        self.server.apply(&secret.to_string()).unwrap();
        redis
    }

    fn delete_tenant(&self, name: &str) {
        run(self.server.kubectl().args(["delete", "tenant", name])).unwrap();
    }
}

fn account(username: &str) -> Value {
    json!({"username": username, "email": format!("{username}@example.com"), "password": PASSWORD})
}

fn name_of(tenant: &Value) -> String {
    tenant["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Signs up on another thread.
fn signing_up(gateway: &Gateway, username: &str) -> JoinHandle<Answer> {
    let (client, body) = (Client::anonymous(gateway), account(username));
    thread::spawn(move || client.post(REGISTER, &body))
}

fn log_in(gateway: &Gateway, tenant: &str, username: &str) -> Answer {
    let body = json!({"username": username, "password": PASSWORD});
    Client::anonymous(gateway).post(&format!("/t/{tenant}/api/v1/auth/login"), &body)
}

#[test]
fn who_names_no_tenant_gets_one_and_owns_it_while_others_are_served() {
    let kubernetes = Kubernetes::start();
    let template = "deletionPolicy: Delete\nlimits:\n  maxKeys: 100\n";
    let gateway = kubernetes.gateway(template, &["--sign-up-wait", "90"]);
    let other = kubernetes.gateway(template, &[]);
    let _acme = kubernetes.provision("acme");

    let waiting = signing_up(&gateway, "grace");
    let tenant = kubernetes.next_tenant(&[]);
    let name = name_of(&tenant);
    assert!(name.starts_with("t-") && name.len() >= 14, "{name}");
    assert_eq!(tenant["spec"]["limits"]["maxKeys"], 100);
    assert_eq!(tenant["spec"]["deletionPolicy"], "Delete");
    assert!(!tenant.to_string().contains("grace"), "a Tenant tells nothing of who signed up: {tenant}");
    assert_eq!(kubernetes.pending(), [format!("sign-up-{name}")]);
    let kept = kubernetes.list(&["secrets", "-n", NAMESPACE])[0].to_string();
    assert!(!kept.contains(PASSWORD) && !kept.contains("Q29ycmVjdC1ob3JzZS03"), "{kept}");

    let ada = eventually(|| {
        let body =
            json!({"tenant": "acme", "username": "ada", "email": "ada@example.com", "password": PASSWORD});
        let answer = Client::anonymous(&gateway).post(REGISTER, &body);
        (answer.status == 201).then(|| answer.json()["access_token"].as_str().unwrap().to_owned())
    });
    let ada = Client::with_token(&gateway, &ada);
    for number in 0..20 {
        let written = ada.put(&format!("/api/v1/kv/k{number}"), &json!({"value": number}));
        assert_eq!(written.status, 201, "{}", written.text());
    }
    assert!(!waiting.is_finished(), "the tenant is not there yet");

    let _redis = kubernetes.provision(&name);
    let answer = waiting.join().unwrap();
    assert_eq!(answer.status, 201, "{}\n{}", answer.text(), gateway.log());
    assert_eq!(answer.json()["tenant_id"], json!(name));
    let grace = Client::with_token(&gateway, answer.json()["access_token"].as_str().unwrap());
    assert_eq!(grace.put("/api/v1/kv/first", &json!({"value": 1})).status, 201);
    let me = grace.get("/api/v1/auth/me").json();
    assert_eq!(me["scopes"], json!(["kv:read", "kv:write", "jobs:read", "jobs:write", "admin"]));
    let key = grace.post("/api/v1/auth/api-keys", &json!({"name": "mine", "scopes": ["kv:read"]}));
    assert_eq!(key.status, 201, "{}", key.text());
    eventually(|| kubernetes.pending().is_empty().then_some(()));
    eventually(|| (log_in(&other, &name, "grace").status == 200).then_some(()));
}

#[test]
fn who_did_not_wait_or_was_left_by_the_gateway_finds_the_account() {
    let kubernetes = Kubernetes::start();
    let patient = kubernetes.gateway("{}", &["--sign-up-wait", "90"]);
    let hasty = kubernetes.gateway("{}", &["--sign-up-wait", "0"]);

    let answer = Client::anonymous(&hasty).post(REGISTER, &account("grace"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let first = answer.json()["tenant_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.json(), json!({"tenant_id": first, "status": "provisioning"}));
    assert_eq!(answer.header("location"), format!("/t/{first}/api/v1/auth/login"));
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(code(&log_in(&hasty, &first, "grace")), (404, "tenant_unknown".into()));
    let mut redis = kubernetes.provision(&first);
    eventually(|| (log_in(&hasty, &first, "grace").status == 200).then_some(()));
    eventually(|| (log_in(&patient, &first, "grace").status == 200).then_some(()));
    eventually(|| kubernetes.pending().is_empty().then_some(()));
    redis.kill();

    let broken = signing_up(&patient, "linus");
    let second = name_of(&kubernetes.next_tenant(&[&first]));
    assert_eq!(kubernetes.pending(), [format!("sign-up-{second}")]);
    // SIGKILL.
    drop(patient);
    assert!(broken.join().is_err(), "its request breaks off");
    let _redis = kubernetes.provision(&second);
    eventually(|| (log_in(&hasty, &second, "linus").status == 200).then_some(()));

    let gateway = kubernetes.gateway("{}", &["--sign-up-wait", "90"]);
    let mut connection = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    let body = account("ken").to_string();
    write!(
        connection,
        "POST {REGISTER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let third = name_of(&kubernetes.next_tenant(&[&first, &second]));
    // The client hangs up.
    drop(connection);
    let _redis = kubernetes.provision(&third);
    eventually(|| (log_in(&gateway, &third, "ken").status == 200).then_some(()));
    eventually(|| kubernetes.pending().is_empty().then_some(()));
}

#[test]
fn nothing_is_made_for_a_wrong_request_and_no_more_than_is_allowed() {
    let kubernetes = Kubernetes::start();
    let bounded = ["--sign-up-wait", "0", "--sign-up-max-tenants", "2"];
    let gateway = kubernetes.gateway("{}", &bounded);
    let client = Client::anonymous(&gateway);
    for (field, wrong, expected) in [
        ("password", json!("short"), "weak_password"),
        ("email", json!("nobody"), "invalid"),
        ("username", json!("white space"), "invalid"),
        ("scopes", json!(["kv:read"]), "invalid"),
    ] {
        let mut body = account("grace");
        body[field] = wrong;
        assert_eq!(code(&client.post(REGISTER, &body)), (422, expected.to_owned()), "{field}");
    }
    assert!(kubernetes.tenants().is_empty() && kubernetes.pending().is_empty());

    for username in ["one", "two"] {
        assert_eq!(client.post(REGISTER, &account(username)).status, 202);
    }
    assert_eq!(code(&client.post(REGISTER, &account("three"))), (403, "sign_up_full".into()));
    assert_eq!((kubernetes.tenants().len(), kubernetes.pending().len()), (2, 2));
    kubernetes.delete_tenant(&name_of(&kubernetes.tenants()[0]));
    eventually(|| (client.post(REGISTER, &account("three")).status == 202).then_some(()));

    let proxied = kubernetes.gateway("{}", &["--sign-up-wait", "0", "--trusted-proxies", "127.0.0.0/8"]);
    let client = Client::anonymous(&proxied);
    let from = |address: &str| {
        let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", address)];
        client.raw("POST", REGISTER, &headers, account("grace").to_string().as_bytes())
    };
    for _ in 0..5 {
        assert_eq!(from("198.51.100.7").status, 202);
    }
    let refused = from("198.51.100.7");
    assert_eq!(code(&refused), (429, "too_many_sign_ups".into()));
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 3000);
    assert_eq!(from("198.51.100.8").status, 202);
}

#[test]
fn no_more_than_so_many_wait_and_a_gateway_that_ends_keeps_none_of_them() {
    let kubernetes = Kubernetes::start();
    let mut gateway = kubernetes.gateway("{}", &["--sign-up-wait", "90"]);
    let mut waiting = Vec::new();
    // One Tenant is made after the other, each within 15 s from its request.
    while waiting.len() < 64 {
        let next = (0..8).map(|at| signing_up(&gateway, &format!("user-{}", waiting.len() + at)));
        let next: Vec<_> = next.collect();
        waiting.extend(next);
        eventually(|| (kubernetes.tenants().len() == waiting.len()).then_some(()));
    }
    let refused = Client::anonymous(&gateway).post(REGISTER, &account("one-more"));
    assert_eq!(code(&refused), (503, "too_busy".into()));
    gateway.terminate();
    for answer in waiting {
        let answer = answer.join().unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    assert!(gateway.wait());
    assert_eq!((kubernetes.tenants().len(), kubernetes.pending().len()), (64, 64));
}

#[test]
fn what_the_apiserver_refuses_is_told_to_the_log_and_leaves_nothing() {
    let kubernetes = Kubernetes::start();
    for (template, says) in [
        (r#"{"redis": {"versoin": "7.2"}}"#, r#"unknown field \"spec.redis.versoin\""#),
        ("limits: {maxKeyBytes: 0}", "spec.limits.maxKeyBytes"),
    ] {
        let gateway = kubernetes.gateway(template, &[]);
        // Before anybody signs up.
        eventually(|| gateway.log().contains(says).then_some(()));
        let answer = Client::anonymous(&gateway).post(REGISTER, &account("grace"));
        assert_eq!(code(&answer), (503, "sign_up_unavailable".into()));
        assert!(!answer.text().contains("spec"), "{}", answer.text());
        let log = gateway.log();
        assert!(log.matches(says).count() > 1 && log.contains("gateway.signUp.template"), "{log}");
        assert!(!log.contains("grace"), "{log}");
        assert!(kubernetes.tenants().is_empty() && kubernetes.pending().is_empty());
    }

    run(kubernetes.server.kubectl().args(["delete", "clusterrolebinding", "keystead-gateway"])).unwrap();
    let gateway = kubernetes.gateway("{}", &[]);
    let answer = Client::anonymous(&gateway).post(REGISTER, &account("grace"));
    assert_eq!(code(&answer), (503, "sign_up_unavailable".into()));
    assert!(gateway.log().contains("forbidden"), "{}", gateway.log());
    assert!(kubernetes.pending().is_empty());
}

/// As after a gateway that died between the two, and where the Tenant was deleted before it was served.
#[test]
fn an_account_whose_tenant_is_not_there_is_dropped_after_a_while() {
    let kubernetes = Kubernetes::start();
    let gateway = kubernetes.gateway("{}", &["--sign-up-wait", "0"]);
    let answer = Client::anonymous(&gateway).post(REGISTER, &account("grace"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let name = answer.json()["tenant_id"].as_str().unwrap().to_owned();
    let kept = Client::anonymous(&gateway).post(REGISTER, &account("linus"));
    let kept = format!("sign-up-{}", kept.json()["tenant_id"].as_str().unwrap());
    kubernetes.delete_tenant(&name);
    let started = Instant::now();
    while kubernetes.pending() != [kept.clone()] {
        assert!(started.elapsed() < Duration::from_mins(2), "{:?}\n{}", kubernetes.pending(), gateway.log());
        thread::sleep(Duration::from_millis(500));
    }
    assert!(started.elapsed() > Duration::from_mins(1), "a gateway that is slow is given its time");
}

#[test]
fn a_gateway_does_not_start_with_a_template_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let missing = folder.path().join("missing").display().to_string();
    let good = write("good", "{}");
    let refused = |source: [&str; 2], arguments: &[&str], says: &str| {
        let said = refused_start(&[&source[..], arguments].concat());
        assert!(said.contains(says), "{says}: {said}");
    };
    let namespace = ["--routes-namespace", NAMESPACE];
    refused(namespace, &["--sign-up-template", &missing], "name a file that the gateway may read");
    refused(namespace, &["--sign-up-template", &write("list", "[1]")], "holds a list");
    refused(namespace, &["--sign-up-template", &write("broken", "{\"a\":")], "neither JSON nor YAML");
    refused(namespace, &["--sign-up-template", &good, "--sign-up-wait", "121"], "121 is not in 0..=120");
    refused(namespace, &["--sign-up-max-tenants", "5"], "--sign-up-template <FILE>");
    let routes = folder.path().display().to_string();
    refused(
        ["--routes", &routes],
        &["--sign-up-template", &good],
        "'--routes <DIR>' cannot be used with '--sign-up-template <FILE>'",
    );
}
