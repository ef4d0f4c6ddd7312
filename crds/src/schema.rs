//! The CustomResourceDefinition, from the types, as it is installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::Tenant;

/// Begins the committed file.
const HEADER: &str =
    "# Generated from the crate keystead-crds by `cargo xtask crds`: change the types, not this file.\n";

/// The CustomResourceDefinition of [`Tenant`].
pub fn crd() -> CustomResourceDefinition {
    let mut crd = Tenant::crd();
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|it| it.open_api_v3_schema.as_mut()) else {
            continue;
        };
        let Ok(mut value) = serde_json::to_value(&*schema) else { continue };
        tidy(&mut value);
        if let Some(spec) = value.pointer_mut("/properties/spec").and_then(Value::as_object_mut) {
            // A manifest may leave the whole spec out.
            spec.insert("default".into(), json!({}));
        }
        if let Ok(tidied) = serde_json::from_value(value) {
            *schema = tidied;
        }
    }
    crd
}

/// The CustomResourceDefinition as `crds/yaml/tenants.yaml` holds it.
pub fn yaml() -> String {
    let value = serde_json::to_value(crd()).unwrap_or_default();
    // A tree of maps, lists and scalars: this cannot fail.
    let body = serde_saphyr::to_string(&value).unwrap_or_default();
    format!("{HEADER}{body}")
}

/// The schema of the stored version, as JSON.
pub(crate) fn open_api_schema() -> Value {
    let crd = crd();
    let schema = crd.spec.versions.into_iter().next().and_then(|version| version.schema);
    serde_json::to_value(schema.and_then(|it| it.open_api_v3_schema)).unwrap_or_default()
}

/// Takes out of a schema what would only make it larger, or `null` mean something:
/// - `nullable`: without it the apiserver drops a `null`, so that it means the same as leaving the field out;
/// - formats that Kubernetes does not know;
/// - what Kubernetes' own types say of themselves.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_schema = fields.contains_key("type") || fields.contains_key("x-kubernetes-int-or-string");
            if is_schema {
                tidy_fields(fields);
            }
            for (name, field) in fields.iter_mut() {
                if matches!(name.as_str(), "behavior" | "namespaceSelector" | "podSelector") {
                    for inner in field.as_object_mut().into_iter().flat_map(|it| it.values_mut()) {
                        remove_descriptions(inner);
                    }
                }
                if name != "default" {
                    tidy(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn remove_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("description").is_some_and(Value::is_string) {
                fields.remove("description");
            }
            fields.values_mut().for_each(remove_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_descriptions),
        _ => {}
    }
}

fn tidy_fields(fields: &mut Map<String, Value>) {
    if fields.get("nullable").is_some_and(Value::is_boolean) {
        fields.remove("nullable");
    }
    if let Some(Value::Array(values)) = fields.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        fields.remove("format");
    }
}
