//! The cluster under test, named by `KEYSTEAD_TEST_KUBECONFIG`, one test at a time on it. `KUBECONFIG` is not looked at:
//! it may name a cluster that is not for tests.

use std::{env, path::PathBuf, process::Command, sync::Arc, time::Duration};

use keystead_crds::Tenant;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};

/// Where the gateway would run, and where the operators under test have their Lease.
pub const FRONT: &str = "kst-front";
pub const LEASES: &str = "kst-operator";
/// Begins the name of every Tenant of these tests.
const PREFIX: &str = "kst-";

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A cluster that has the definition and the namespaces, and no Tenant of these tests.
pub struct Cluster {
    pub client: Client,
    pub kubeconfig: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// `None`, having said so, where no cluster is given.
    pub async fn connect() -> Option<Self> {
        let Some(kubeconfig) = env::var_os("KEYSTEAD_TEST_KUBECONFIG").map(PathBuf::from) else {
            eprintln!("skipped: set KEYSTEAD_TEST_KUBECONFIG to the kubeconfig of a cluster for tests");
            return None;
        };
        let alone = ONE_AT_A_TIME.lock().await;
        let config = Kubeconfig::read_from(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let cluster = Self { client: Client::try_from(config).unwrap(), kubeconfig, _alone: alone };
        cluster.prepare().await;
        Some(cluster)
    }

    async fn prepare(&self) {
        let crd = serde_json::to_value(keystead_crds::crd()).unwrap();
        self.apply_as("kst", &crd, false).await.unwrap();
        eventually("Tenants are served", async || {
            self.tenants()
                .list(&ListParams::default().limit(1))
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await;
        for name in [FRONT, LEASES] {
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            self.apply_as("kst", &namespace, false).await.unwrap();
        }
        self.assert_no_other_operator().await;
        self.clean_up().await;
    }

    /// Two operators with leases in different namespaces would undo each other's work.
    async fn assert_no_other_operator(&self) {
        let leases: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &resource("coordination.k8s.io", "v1", "Lease"));
        for lease in leases.list(&ListParams::default()).await.unwrap() {
            let holder = lease.data["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
            if lease.name_any() != "keystead-operator"
                || lease.namespace().as_deref() == Some(LEASES)
                || holder.is_empty()
            {
                continue;
            }
            let renewed = lease.data["spec"]["renewTime"].clone();
            sleep(Duration::from_secs(7)).await;
            let namespace = lease.namespace().unwrap_or_default();
            let again: Api<DynamicObject> = Api::namespaced_with(
                self.client.clone(),
                &namespace,
                &resource("coordination.k8s.io", "v1", "Lease"),
            );
            let again = again.get("keystead-operator").await.unwrap();
            assert_eq!(
                again.data["spec"]["renewTime"], renewed,
                "an operator leads in the namespace {namespace}: scale it to zero while these tests run"
            );
        }
    }

    /// Removes what an earlier run has left.
    pub async fn clean_up(&self) {
        for tenant in self.tenants().list(&ListParams::default()).await.unwrap() {
            let name = tenant.name_any();
            if name.starts_with(PREFIX) {
                let patch = json!({ "metadata": { "finalizers": null } });
                let _ = self.tenants().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
                let _ = self.tenants().delete(&name, &DeleteParams::default()).await;
            }
        }
        let namespaces = self.api("", "v1", "Namespace", None);
        for namespace in namespaces.list(&ListParams::default()).await.unwrap() {
            if namespace.name_any().starts_with(&format!("tenant-{PREFIX}")) {
                let _ = namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await;
            }
        }
        let secrets = self.api("", "v1", "Secret", Some(FRONT));
        let selector = ListParams::default().labels("keystead.io/route=true");
        let _ = secrets.delete_collection(&DeleteParams::default(), &selector).await;
        eventually("what an earlier test has left is gone", async || {
            let names: Vec<String> = namespaces
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?
                .iter()
                .map(ResourceExt::name_any)
                .filter(|name| name.starts_with(&format!("tenant-{PREFIX}")))
                .collect();
            if names.is_empty() { Ok(()) } else { Err(format!("{names:?}")) }
        })
        .await;
    }

    pub fn tenants(&self) -> Api<Tenant> {
        Api::all(self.client.clone())
    }

    pub fn api(&self, group: &str, version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = resource(group, version, kind);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Server-side apply, as another manager than the operator.
    pub async fn apply_as(
        &self,
        manager: &str,
        body: &Value,
        dry_run: bool,
    ) -> Result<DynamicObject, kube::Error> {
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let api_version = text("/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let namespace = text("/metadata/namespace");
        let api =
            self.api(group, version, &text("/kind"), (!namespace.is_empty()).then_some(namespace.as_str()));
        let params = PatchParams { dry_run, ..PatchParams::apply(manager).force().validation_strict() };
        api.patch(&text("/metadata/name"), &params, &Patch::Apply(body)).await
    }

    /// Applies a Tenant; deleted with its data unless the spec says otherwise.
    pub async fn apply_tenant(&self, name: &str, spec: &Value) -> Tenant {
        let body = manifest(name, spec);
        self.apply_as("kst", &body, false).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.tenants().get(name).await.unwrap()
    }

    /// Waits for a condition; panics with what the status says when it does not come.
    pub async fn wait_for(&self, name: &str, condition: &str, status: &str) -> Tenant {
        eventually(&format!("{name} is {condition}={status}"), async || {
            let tenant = self.tenants().get(name).await.map_err(|error| error.to_string())?;
            let said = tenant.status.clone().unwrap_or_default();
            let holds = said.conditions.iter().any(|it| it.type_ == condition && it.status == status);
            let is_current = said.observed_generation == tenant.metadata.generation;
            if holds && is_current { Ok(tenant) } else { Err(format!("{:#?}", tenant.status)) }
        })
        .await
    }

    pub async fn wait_gone(&self, name: &str) {
        eventually(&format!("{name} is gone"), async || {
            match self.tenants().get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(tenant) => Err(format!("{:#?}", tenant.status)),
            }
        })
        .await;
    }

    pub async fn get(
        &self,
        group: &str,
        version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Value> {
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let object = self.api(group, version, kind, namespace).get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(object).unwrap())
    }

    pub async fn secret(&self, tenant: &str, name: &str) -> Option<Value> {
        self.get("", "v1", "Secret", &format!("tenant-{tenant}"), name).await
    }

    /// The names of everything of a kind in a namespace.
    pub async fn names(&self, group: &str, version: &str, kind: &str, namespace: &str) -> Vec<String> {
        let list =
            self.api(group, version, kind, Some(namespace)).list(&ListParams::default()).await.unwrap();
        list.iter().map(ResourceExt::name_any).collect()
    }

    pub fn kubectl(&self, arguments: &[&str], input: &str) -> (bool, String) {
        use std::{io::Write, process::Stdio};
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl is installed");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }
}

/// A Tenant's manifest.
pub fn manifest(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if spec.get("deletionPolicy").is_none() {
        spec["deletionPolicy"] = json!("Delete");
    }
    json!({
        "apiVersion": "keystead.io/v1alpha1",
        "kind": "Tenant",
        "metadata": { "name": name },
        "spec": spec,
    })
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    match kind {
        "NetworkPolicy" => ApiResource::from_gvk_with_plural(&gvk, "networkpolicies"),
        _ => ApiResource::from_gvk_with_plural(&gvk, &format!("{}s", kind.to_lowercase())),
    }
}

/// Asks again and again until it holds; panics with the last answer after three minutes. Six members and the job that forms
/// their cluster take up to a minute and a half where two processors are shared with tests that keep eighteen more.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + Duration::from_mins(3);
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < until, "not so: {what}. Last seen: {last}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether pods can run there.
pub async fn has_nodes(cluster: &Cluster) -> bool {
    let nodes = cluster.api("", "v1", "Node", None).list(&ListParams::default()).await.unwrap();
    !nodes.items.is_empty()
}

/// Shared by the proxy and what it is asked.
pub type Shared<T> = Arc<std::sync::Mutex<T>>;
