//! The rules of the definition, enforced by the API server: the same manifests as the tests of `keystead-crds`.

use axum::http::{Method, Request};
use kube::api::{DeleteParams, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

#[derive(Deserialize)]
struct Rule {
    #[serde(rename = "case")]
    title: String,
    #[serde(default = "name")]
    name: String,
    spec: Value,
    old: Option<Value>,
    says: Option<String>,
    #[serde(default)]
    in_process: bool,
}

fn name() -> String {
    "kst-rules".into()
}

fn manifest(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "keystead.io/v1alpha1", "kind": "Tenant", "metadata": { "name": name }, "spec": spec })
}

#[tokio::test]
async fn bad_manifests_are_refused_by_the_api_server_with_what_to_do() {
    let Some(cluster) = Cluster::connect().await else { return };
    let rules: Vec<Rule> = serde_saphyr::from_str(include_str!("../../../crds/tests/rules.yaml")).unwrap();
    let mut wrong = Vec::new();
    for rule in rules.iter().filter(|rule| !rule.in_process) {
        if let Some(old) = &rule.old {
            let old = serde_json::from_value(manifest(&rule.name, old)).unwrap();
            cluster.tenants().create(&PostParams::default(), &old).await.unwrap();
        }
        let outcome = write(&cluster, rule).await;
        let said = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let good = match &rule.says {
            None => outcome.is_ok(),
            Some(says) => said.contains(says.as_str()),
        };
        if !good {
            wrong.push(format!("{}: expected {:?}, got {said:?}", rule.title, rule.says));
        }
        if rule.old.is_some() {
            cluster.tenants().delete(&rule.name, &DeleteParams::default()).await.unwrap();
            cluster.wait_gone(&rule.name).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Creates or replaces, as a dry run, with the strict validation that kubectl asks for.
async fn write(cluster: &Cluster, rule: &Rule) -> Result<Value, kube::Error> {
    let mut body = manifest(&rule.name, &rule.spec);
    let mut path = "/apis/keystead.io/v1alpha1/tenants".to_owned();
    let mut method = Method::POST;
    if rule.old.is_some() {
        let old = cluster.tenants().get(&rule.name).await?;
        body["metadata"]["resourceVersion"] = json!(old.metadata.resource_version);
        path = format!("{path}/{}", rule.name);
        method = Method::PUT;
    }
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}?dryRun=All&fieldValidation=Strict"))
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    cluster.client.request(request).await
}

#[tokio::test]
async fn a_manifest_may_leave_out_everything_and_get_the_documented_defaults() {
    let Some(cluster) = Cluster::connect().await else { return };
    let body = json!({
        "apiVersion": "keystead.io/v1alpha1", "kind": "Tenant", "metadata": { "name": "kst-empty" },
    });
    let stored = cluster.apply_as("kst", &body, true).await.unwrap();
    assert_eq!(
        stored.data["spec"],
        json!({
            "suspend": false,
            "deletionPolicy": "Retain",
            "redis": {
                "topology": "Standalone",
                "durability": "Async",
                "reads": "Primary",
                "resources": {},
                "storage": { "ephemeral": false },
                "persistence": {},
                "tls": { "enabled": false },
                "evictionPolicy": "NoEviction",
            },
            "limits": { "maxKeyBytes": 256, "maxValueBytes": 2_097_152, "defaultTtlSeconds": 3600 },
            "auth": { "signUp": "Closed", "accessTokenTtl": "30m", "refreshTokenTtl": "168h", "signing": "EdDSA" },
            "cache": { "enabled": false, "maxBytes": 16_777_216 },
            "audit": { "enabled": false, "maxEntries": 100_000 },
            "encryption": { "enabled": false, "keyVersion": 1 },
            "worker": { "replicas": 1, "concurrency": 16, "resources": {} },
            "autoscaling": { "workers": { "profile": "Api", "cpuUtilization": 70, "queueDepth": 100 } },
            "network": {},
        })
    );
}

#[tokio::test]
async fn kubectl_refuses_an_unknown_field_and_shows_the_columns() {
    let Some(cluster) = Cluster::connect().await else { return };
    let wrong = manifest("kst-typo", &json!({ "redis": { "versoin": "7.2" } })).to_string();
    let (done, said) = cluster.kubectl(&["apply", "-f", "-"], &wrong);
    assert!(!done && said.contains("unknown field \"spec.redis.versoin\""), "{said}");

    cluster.apply_tenant("kst-columns", &json!({})).await;
    let shown = eventually("kubectl knows kt", async || {
        let (done, said) = cluster.kubectl(&["get", "kt", "kst-columns"], "");
        if done { Ok(said) } else { Err(said) }
    })
    .await;
    let header: Vec<&str> = shown.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["NAME", "TOPOLOGY", "READY", "PHASE", "VERSION", "AGE"]);
    cluster.clean_up().await;
}
