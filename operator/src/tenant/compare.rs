//! Whether an observed object has what is desired of it. Pure.
//!
//! It is a comparison of a part with a whole: the API server fills in defaults, and other managers may set fields and
//! list items of their own, which are none of our business. Lists that server-side apply merges by a key are compared
//! by that key, the others as wholes.

use keystead_crds::is_same_amount;
use serde_json::{Map, Value};

/// Whether every field of `desired` is in `observed` with the same value.
pub fn has(observed: &Value, desired: &Value) -> bool {
    part(observed, desired, "")
}

fn part(observed: &Value, desired: &Value, field: &str) -> bool {
    match (observed, desired) {
        (Value::Object(observed), Value::Object(desired)) => {
            let amounts = matches!(field, "requests" | "limits");
            desired.iter().all(|(name, value)| match observed.get(name) {
                Some(found) if amounts => same_amount(found, value),
                Some(found) => part(found, value, name),
                None => is_nothing(value),
            })
        }
        (Value::Array(observed), Value::Array(desired)) => match merge_key(field, desired.first()) {
            Some(keys) => desired.iter().all(|item| {
                observed.iter().any(|found| same_keys(found, item, keys) && part(found, item, ""))
            }),
            None => {
                observed.len() == desired.len()
                    && observed.iter().zip(desired).all(|(found, item)| part(found, item, ""))
            }
        },
        _ => observed == desired || (is_nothing(desired) && is_nothing(observed)),
    }
}

/// What the API server leaves out when it gives an object back.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn same_amount(observed: &Value, desired: &Value) -> bool {
    match (observed, desired) {
        (Value::String(left), Value::String(right)) => left == right || is_same_amount(left, right),
        _ => observed == desired,
    }
}

/// The keys by which server-side apply merges a list (`x-kubernetes-list-map-keys`), of those that we send.
fn merge_key(field: &str, first: Option<&Value>) -> Option<&'static [&'static str]> {
    let has = |name: &str| first.is_some_and(|item| item.get(name).is_some());
    match field {
        // A Service's and a container's ports are merged, a NetworkPolicy's are not.
        "ports" if has("containerPort") => Some(&["containerPort", "protocol"]),
        "ports" if has("targetPort") => Some(&["port", "protocol"]),
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => Some(&["name"]),
        "volumeMounts" => Some(&["mountPath"]),
        "ownerReferences" => Some(&["uid"]),
        _ => None,
    }
}

fn same_keys(left: &Value, right: &Value, keys: &[&str]) -> bool {
    let of = |item: &Value, key: &str| item.as_object().and_then(|it: &Map<_, _>| it.get(key)).cloned();
    keys.iter().all(|key| of(left, key) == of(right, key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_foreign_fields_are_no_difference() {
        let observed = json!({
            "metadata": { "labels": { "ours": "1", "theirs": "2" }, "resourceVersion": "7" },
            "spec": {
                "containers": [
                    { "name": "injected" },
                    { "name": "redis", "image": "i", "terminationMessagePath": "/dev/x", "env": [{ "name": "A", "value": "" }] },
                ],
                "replicas": 4,
            },
        });
        let desired = json!({
            "metadata": { "labels": { "ours": "1" }, "annotations": {} },
            "spec": { "containers": [{ "name": "redis", "image": "i", "env": [] }], "volumes": [] },
        });
        assert!(has(&observed, &desired));
    }

    #[test]
    fn a_changed_or_missing_field_is_a_difference() {
        let desired =
            json!({ "spec": { "ports": [{ "port": 6379, "protocol": "TCP" }], "type": "ClusterIP" } });
        assert!(has(&desired, &desired));
        for observed in [
            json!({ "spec": { "ports": [{ "port": 6380, "protocol": "TCP" }], "type": "ClusterIP" } }),
            json!({ "spec": { "ports": [{ "port": 6379, "protocol": "TCP" }, { "port": 1, "protocol": "TCP" }], "type": "ClusterIP" } }),
            json!({ "spec": { "ports": [{ "port": 6379, "protocol": "TCP" }] } }),
        ] {
            assert!(!has(&observed, &desired), "{observed}");
        }
    }

    #[test]
    fn a_port_that_another_manager_added_to_a_service_is_no_difference() {
        let port = |number: i32| json!({ "port": number, "targetPort": number, "protocol": "TCP" });
        let of = |ports: Vec<Value>| json!({ "spec": { "ports": ports } });
        assert!(has(&of(vec![port(1), port(2)]), &of(vec![port(2)])));
        assert!(!has(&of(vec![port(1)]), &of(vec![port(2)])));
    }

    #[test]
    fn an_opened_policy_is_a_difference() {
        let desired = json!({ "spec": { "ingress": [] } });
        assert!(has(&json!({ "spec": {} }), &desired));
        assert!(!has(&json!({ "spec": { "ingress": [{}] } }), &desired));
    }

    #[test]
    fn amounts_are_compared_by_their_value_where_they_are_amounts() {
        let of = |field: &str, value: &str| json!({ field: { "x": value } });
        assert!(has(&of("limits", "1Gi"), &of("limits", "1024Mi")));
        assert!(!has(&of("limits", "1Gi"), &of("limits", "1G")));
        assert!(!has(&of("labels", "1"), &of("labels", "1000m")));
    }
}
