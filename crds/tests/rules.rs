//! Each rule of the schema, evaluated in process. The operator's tests put the same manifests to a real apiserver.

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(rename = "case")]
    title: String,
    #[serde(default = "name")]
    name: String,
    spec: Value,
    old: Option<Value>,
    says: Option<String>,
    #[serde(default)]
    apiserver: bool,
    #[serde(default, rename = "in_process")]
    _in_process: bool,
}

fn name() -> String {
    "shop".into()
}

fn manifest(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "keystead.io/v1alpha1",
        "kind": "Tenant",
        "metadata": { "name": name },
        "spec": spec,
    })
}

#[test]
fn manifests_are_taken_or_refused_with_what_to_do() {
    let cases: Vec<Rule> = serde_saphyr::from_str(include_str!("rules.yaml")).unwrap();
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| !case.apiserver) {
        let old = case.old.as_ref().map(|old| manifest(&case.name, old));
        let outcome = keystead_crds::check(&manifest(&case.name, &case.spec), old.as_ref());
        let good = match (&outcome, &case.says) {
            (Ok(()), None) => true,
            (Err(refused), Some(says)) => refused.to_string().contains(says.as_str()),
            _ => false,
        };
        if !good {
            wrong.push(format!("{}: expected {:?}, got {outcome:?}", case.title, case.says));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_tenant_that_says_nothing_has_the_documented_defaults() {
    let tenant: keystead_crds::Tenant = serde_json::from_value(manifest("shop", &json!({}))).unwrap();
    let spec = serde_json::to_value(&tenant.spec).unwrap();
    assert_eq!(
        spec,
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
