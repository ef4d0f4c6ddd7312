//! What the chart renders: the promises that hold for every installation.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{collections::BTreeSet, fs};

use keystead_chart::{find, helm, render, root};
use serde_json::{Value, json};

const EXAMPLES: [&[&str]; 3] =
    [&[], &["-f", "examples/values-local.yaml"], &["-f", "examples/values-production.yaml"]];

fn pods(objects: &[Value]) -> impl Iterator<Item = &Value> {
    objects.iter().filter(|object| object["kind"] == "Deployment").map(|it| &it["spec"]["template"])
}

/// The same with every number as a float: 1.0 and 1 are one bound.
fn as_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(as_numbers).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), as_numbers(value))).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    for values in EXAMPLES {
        let output = helm(&["lint", "--strict", "--kube-version", "1.36.0"], values);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_definition_is_the_generated_one_and_survives_uninstalling() {
    let objects = render(&[]).unwrap();
    let rendered = find(&objects, "CustomResourceDefinition", "tenants.keystead.io");
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let generated = read("crds/yaml/tenants.yaml");
    assert!(
        read("charts/keystead/files/tenants.yaml") == generated,
        "charts/keystead/files/tenants.yaml is stale: run `cargo xtask crds` and commit it"
    );
    let generated: Value = serde_saphyr::from_str(&generated).unwrap();
    assert_eq!(as_numbers(&rendered["spec"]), as_numbers(&generated["spec"]));
    assert_eq!(rendered["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    let without = render(&["--set", "crds.install=false"]).unwrap();
    assert!(without.iter().all(|object| object["kind"] != "CustomResourceDefinition"));
}

#[test]
fn every_pod_passes_pod_security_restricted_and_has_bounds() {
    for values in EXAMPLES {
        let objects = render(values).unwrap();
        assert_eq!(pods(&objects).count(), 2);
        for pod in pods(&objects) {
            let spec = &pod["spec"];
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
            assert_eq!(spec["securityContext"]["runAsUser"], 65532);
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            for container in spec["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false);
                assert_eq!(security["readOnlyRootFilesystem"], true);
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
                for amount in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
                    assert!(container["resources"].pointer(amount).is_some(), "{amount}");
                }
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    assert!(container[probe].is_object(), "{probe}");
                }
            }
        }
    }
}

#[test]
fn permissions_are_named_one_by_one_and_the_gateways_are_secrets_of_its_namespace() {
    let objects = render(&[]).unwrap();
    let is_role = |it: &&Value| it["kind"] == "Role" || it["kind"] == "ClusterRole";
    for role in objects.iter().filter(is_role) {
        assert!(!role["rules"].to_string().contains('*'), "{role}");
    }
    let rules = &find(&objects, "Role", "keystead-gateway")["rules"];
    assert_eq!(
        *rules,
        json!([
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
        ])
    );
    let binds_gateway = |it: &&Value| it["subjects"].to_string().contains("keystead-gateway");
    let bindings: Vec<&Value> = objects.iter().filter(binds_gateway).collect();
    assert_eq!(bindings.len(), 1, "{bindings:?}");
    assert_eq!(bindings[0]["kind"], "RoleBinding");
    assert_eq!(bindings[0]["subjects"][0]["namespace"], "keystead-system");

    let operator = find(&objects, "ClusterRole", "keystead-operator")["rules"].to_string();
    let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "delete"]});
    assert_eq!(operator.matches("\"pods\"").count(), 1, "{operator}");
    assert!(operator.contains(&pods.to_string()), "{operator}");
    let jobs = json!({
        "apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list", "watch", "create", "patch", "delete"],
    });
    assert!(operator.contains(&jobs.to_string()), "{operator}");
    for never in ["nodes", "roles", "customresourcedefinitions", "impersonate", "escalate", "bind"] {
        assert!(!operator.contains(&format!("\"{never}\"")), "{never}: {operator}");
    }
}

#[test]
fn only_with_sign_up_the_gateway_may_make_tenants_and_has_a_template() {
    let objects = render(&[]).unwrap();
    let of_gateway = |kind: &str| {
        objects.iter().any(|it| {
            it["kind"] == kind && it["metadata"]["name"].as_str().unwrap().contains("keystead-gateway")
        })
    };
    assert!(!of_gateway("ClusterRole") && !of_gateway("ClusterRoleBinding") && !of_gateway("ConfigMap"));
    assert!(!find(&objects, "Deployment", "keystead-gateway").to_string().to_lowercase().contains("sign"));

    let with = |more: &str| render(&["--set", &format!("gateway.signUp.enabled=true{more}")]).unwrap();
    let objects = with(",gateway.signUp.template.redis.version=7.2,gateway.signUp.maxTenants=20000");
    assert_eq!(
        find(&objects, "ClusterRole", "keystead-gateway")["rules"],
        json!([{"apiGroups": ["keystead.io"], "resources": ["tenants"], "verbs": ["create", "get", "list"]}])
    );
    let binding = find(&objects, "ClusterRoleBinding", "keystead-gateway");
    assert_eq!(binding["roleRef"]["name"], "keystead-gateway");
    assert_eq!(binding["subjects"][0]["namespace"], "keystead-system");
    assert_eq!(
        find(&objects, "Role", "keystead-gateway")["rules"],
        json!([
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch", "create", "delete"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
        ])
    );
    let template = &find(&objects, "ConfigMap", "keystead-gateway-sign-up")["data"]["template.json"];
    let template: Value = serde_json::from_str(template.as_str().unwrap()).unwrap();
    assert_eq!(template, json!({"redis": {"version": "7.2"}}));

    let pod = &find(&objects, "Deployment", "keystead-gateway")["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let value = |name: &str| {
        container["env"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()["value"].clone()
    };
    let mount = &container["volumeMounts"][0];
    assert_eq!((&mount["name"], &mount["readOnly"]), (&json!("sign-up"), &json!(true)));
    let file = format!("{}/template.json", mount["mountPath"].as_str().unwrap());
    assert_eq!(value("KEYSTEAD_SIGN_UP_TEMPLATE"), file);
    assert_eq!(value("KEYSTEAD_SIGN_UP_MAX_TENANTS"), "20000");
    assert_eq!(pod["spec"]["volumes"][0]["configMap"]["name"], "keystead-gateway-sign-up");

    let checksum = |objects: &[Value]| {
        let pod = &find(objects, "Deployment", "keystead-gateway")["spec"]["template"];
        pod["metadata"]["annotations"]["checksum/sign-up-template"].as_str().unwrap().to_owned()
    };
    assert_ne!(checksum(&objects), checksum(&with("")), "another template rolls the pods");
    assert_eq!(checksum(&with("")), checksum(&with(",gateway.log=debug")));
}

/// The chart's schema names the fields of a Tenant's spec once more: neither may have one that the other has not.
#[test]
fn a_template_may_have_the_fields_of_the_definition() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let names = |properties: &Value| properties.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let schema: Value = serde_json::from_str(&read("charts/keystead/values.schema.json")).unwrap();
    let template = schema.pointer("/properties/gateway/properties/signUp/properties/template/properties");
    let definition: Value = serde_saphyr::from_str(&read("crds/yaml/tenants.yaml")).unwrap();
    let spec =
        definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
    assert_eq!(names(template.unwrap()), names(spec));
}

#[test]
fn nothing_fights_the_autoscaler_and_it_is_quick_up_and_slow_down() {
    let objects = render(&[]).unwrap();
    let deployment = find(&objects, "Deployment", "keystead-gateway");
    assert!(deployment["spec"].get("replicas").is_none());
    let autoscaler = &find(&objects, "HorizontalPodAutoscaler", "keystead-gateway")["spec"];
    assert_eq!(autoscaler["minReplicas"], 2);
    let behavior = &autoscaler["behavior"];
    assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
    for policy in behavior["scaleUp"]["policies"].as_array().unwrap() {
        assert!(policy["periodSeconds"].as_i64().unwrap() <= 30, "{policy}");
    }
    assert_eq!(behavior["scaleDown"]["stabilizationWindowSeconds"], 600);

    let fixed =
        render(&["--set", "gateway.autoscaling.enabled=false", "--set", "gateway.replicas=5"]).unwrap();
    assert_eq!(find(&fixed, "Deployment", "keystead-gateway")["spec"]["replicas"], 5);
    assert!(fixed.iter().all(|object| object["kind"] != "HorizontalPodAutoscaler"));
}

#[test]
fn external_metrics_are_served_only_where_asked_for_and_only_the_one_that_leads_is_found() {
    let served = |options: &[&str]| {
        let objects = render(options).unwrap();
        let env = find(&objects, "Deployment", "keystead-operator")["spec"]["template"]["spec"]["containers"]
            [0]["env"]
            .to_string();
        let has = |kind: &str| objects.iter().any(|it| it["kind"] == kind);
        (has("APIService"), env.contains("EXTERNAL_METRICS_LISTEN"), env.contains("QUEUE_METRIC"))
    };
    assert_eq!(served(&[]), (false, false, false));
    let adapter = served(&["--set", "operator.externalMetrics.servedByAdapter=true"]);
    assert_eq!(adapter, (false, false, true));
    let enabled = ["--set", "operator.externalMetrics.enabled=true"];
    assert_eq!(served(&enabled), (true, true, false));

    let objects = render(&enabled).unwrap();
    let name = "keystead-operator-external-metrics";
    let api = &find(&objects, "APIService", "v1beta1.external.metrics.k8s.io")["spec"];
    assert_eq!(api["service"], json!({"name": name, "namespace": "keystead-system", "port": 443}));
    assert!(api.get("caBundle").is_none() && api.get("insecureSkipTLSVerify").is_none(), "{api}");
    assert_eq!(find(&objects, "Service", name)["spec"]["selector"]["keystead.io/leader"], "true");
    let rules = |kind: &str| find(&objects, kind, name)["rules"].clone();
    assert_eq!(
        rules("ClusterRole"),
        json!([{
            "apiGroups": ["apiregistration.k8s.io"], "resources": ["apiservices"],
            "resourceNames": ["v1beta1.external.metrics.k8s.io"], "verbs": ["get", "patch"],
        }])
    );
    assert_eq!(rules("Role"), json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]));
    let reader = objects.iter().find(|it| it["metadata"]["namespace"] == "kube-system").unwrap();
    assert_eq!(reader["roleRef"]["name"], "extension-apiserver-authentication-reader");
    let ingress = &find(&objects, "NetworkPolicy", "keystead-operator")["spec"]["ingress"];
    assert_eq!(*ingress, json!([{"ports": [{"port": 8443, "protocol": "TCP"}]}]));
}

#[test]
fn the_gateway_gets_the_time_to_drain() {
    let objects = render(&["--set", "gateway.drainDelay=10,gateway.shutdownGrace=50"]).unwrap();
    let pod = &find(&objects, "Deployment", "keystead-gateway")["spec"]["template"]["spec"];
    assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() > 60);
}

#[test]
fn the_gateway_opens_issuers_only_where_the_values_say_so() {
    let egress = |options: &[&str]| {
        let policy = find(&render(options).unwrap(), "NetworkPolicy", "keystead-gateway").clone();
        policy["spec"]["egress"].as_array().unwrap().clone()
    };
    let (without, with) = (egress(&[]), egress(&["--set", "gateway.issuers.egress=true"]));
    let added: Vec<&Value> = with.iter().filter(|rule| !without.contains(rule)).collect();
    assert_eq!(added, [&json!({"ports": [{"port": 443, "protocol": "TCP"}]})]);
    let narrow = "gateway.issuers.egress=true,gateway.issuers.ports={8443},\
                  gateway.issuers.to[0].ipBlock.cidr=192.0.2.0/24";
    let rule =
        json!({"ports": [{"port": 8443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]});
    assert!(egress(&["--set", narrow]).contains(&rule));
}

#[test]
fn authorities_of_issuers_come_from_a_secret() {
    let pod = |options: &[&str]| {
        let objects = render(options).unwrap();
        find(&objects, "Deployment", "keystead-gateway")["spec"]["template"]["spec"].clone()
    };
    assert!(!pod(&[]).to_string().contains("KEYSTEAD_ISSUER_CA"));
    let pod = pod(&["--set", "gateway.issuers.caSecretName=corporate"]);
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "corporate");
    let container = &pod["containers"][0];
    let folder = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let file = json!({"name": "KEYSTEAD_ISSUER_CA", "value": format!("{folder}/ca.crt")});
    assert!(container["env"].as_array().unwrap().contains(&file));
}

/// The tenants' NetworkPolicies let in pods with these labels, whatever the release is called.
#[test]
fn traces_go_where_the_values_say_and_the_policies_allow_it() {
    let egress = r#"tracing.egress=[{"to":[{"podSelector":{}}]}]"#;
    let options = ["--set", "tracing.endpoint=http://collector:4318", "--set-json", egress];
    let objects = render(&options).unwrap();
    let env = |component: &str, name: &str| {
        let deployment = find(&objects, "Deployment", &format!("keystead-{component}"));
        let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
        env.iter().find(|it| it["name"] == name).map(|it| it["value"].clone())
    };
    assert_eq!(env("gateway", "OTEL_EXPORTER_OTLP_ENDPOINT"), Some(json!("http://collector:4318")));
    assert_eq!(env("gateway", "OTEL_TRACES_SAMPLER_ARG"), Some(json!("0.01")));
    assert_eq!(env("operator", "KEYSTEAD_WORKER_OTLP_ENDPOINT"), Some(json!("http://collector:4318")));
    let rules = env("operator", "KEYSTEAD_WORKER_OTLP_EGRESS").unwrap();
    assert_eq!(rules, json!(r#"[{"to":[{"podSelector":{}}]}]"#));
    let policy = find(&objects, "NetworkPolicy", "keystead-gateway");
    let rules = policy["spec"]["egress"].as_array().unwrap();
    assert!(rules.contains(&json!({"to": [{"podSelector": {}}]})), "{rules:?}");
    assert!(!format!("{:?}", render(&[]).unwrap()).contains("OTLP"));
}

#[test]
fn the_readme_has_a_line_for_every_value() {
    let chart = root().join("charts/keystead");
    let schema: Value = serde_json::from_slice(&fs::read(chart.join("values.schema.json")).unwrap()).unwrap();
    let readme = fs::read_to_string(chart.join("README.md")).unwrap();
    let mut missing = Vec::new();
    for path in leaves(&schema, "") {
        // What is as in another API's object is told in one line.
        let is_told = |path: &str| readme.contains(&format!("| `{path}` |"));
        if path != "global"
            && !is_told(&path)
            && !path.rsplit_once('.').is_some_and(|(above, _)| is_told(above))
        {
            missing.push(path);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

fn leaves(schema: &Value, path: &str) -> Vec<String> {
    let Some(properties) = schema["properties"].as_object() else { return vec![path.to_owned()] };
    let below = |(name, value): (&String, &Value)| {
        leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") })
    };
    properties.iter().flat_map(below).collect()
}

#[test]
fn gateway_and_operator_are_those_that_tenants_let_in() {
    let renamed = render(&["--set", "fullnameOverride=door,nameOverride=x"]).unwrap();
    for component in ["gateway", "operator"] {
        let deployment = find(&renamed, "Deployment", &format!("door-{component}"));
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/name"], "keystead");
        assert_eq!(labels["app.kubernetes.io/component"], component);
    }
}

#[test]
fn images_come_from_the_registry_of_the_values() {
    let objects = render(&["-f", "examples/values-production.yaml"]).unwrap();
    for pod in pods(&objects) {
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
        assert!(image.starts_with("registry.example.com/keystead/"), "{image}");
    }
    let operator = find(&objects, "Deployment", "keystead-operator");
    let env = operator["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|it| it["name"] == name).unwrap()["value"].as_str().unwrap();
    assert_eq!(value("KEYSTEAD_WORKER_IMAGE"), "registry.example.com/keystead/gateway:0.1.0");
    assert!(
        value("KEYSTEAD_REDIS_IMAGES").starts_with("7.0=registry.example.com/library/redis:7.0,7.2=registry")
    );

    let complete =
        render(&["--set", "redis.registry=,redis.images.8\\.0=quay.io/r@sha256:1,worker.image=w:1"]).unwrap();
    let text = find(&complete, "Deployment", "keystead-operator").to_string();
    assert!(text.contains("8.0=quay.io/r@sha256:1\""), "{text}");
    assert!(text.contains("\"w:1\""), "{text}");
}

#[test]
fn an_ingress_leads_both_path_forms_to_the_gateway() {
    assert!(render(&[]).unwrap().iter().all(|object| object["kind"] != "Ingress"));
    let objects = render(&["--set", "gateway.ingress.enabled=true"]).unwrap();
    let rule = &find(&objects, "Ingress", "keystead-gateway")["spec"]["rules"][0];
    let paths = rule["http"]["paths"].as_array().unwrap();
    assert_eq!(paths.iter().map(|path| &path["path"]).collect::<Vec<_>>(), ["/t", "/api/v1"]);
    for path in paths {
        assert_eq!(path["backend"]["service"], json!({"name": "keystead-gateway", "port": {"name": "http"}}));
    }
}
