//! The committed CustomResourceDefinition is the one that the types generate.

use std::{env, fs, path::PathBuf};

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("yaml/tenants.yaml")
}

#[test]
fn the_committed_yaml_is_up_to_date() {
    let generated = keystead_crds::yaml();
    if env::var_os("UPDATE").is_some() {
        fs::write(file(), &generated).unwrap();
    }
    let committed = fs::read_to_string(file()).unwrap_or_default();
    assert!(
        committed == generated,
        "crds/yaml/tenants.yaml is stale: run `cargo xtask crds`, or `UPDATE=1 cargo test -p keystead-crds --test yaml`, and commit it"
    );
}

#[test]
fn the_definition_fits_into_the_annotation_of_a_client_side_apply_several_times_over() {
    let size = serde_json::to_vec(&keystead_crds::crd()).unwrap().len();
    assert!(size < 60_000, "the CustomResourceDefinition has {size} bytes: keep it under 60,000");
}

/// An entry of a list that the API server fills in is another than the one that was applied: `kubectl apply` would say
/// `configured`, and a pipeline see a drift for ever.
#[test]
fn nothing_is_filled_into_the_entries_of_lists() {
    let definition = serde_json::to_value(keystead_crds::crd()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut filled = Vec::new();
    look(schema, "spec", false, &mut filled);
    assert!(filled.is_empty(), "fields with a default within a list: {filled:?}");
}

fn look(schema: &serde_json::Value, path: &str, is_in_list: bool, filled: &mut Vec<String>) {
    if is_in_list && schema.get("default").is_some() {
        filled.push(path.to_owned());
    }
    if let Some(items) = schema.get("items") {
        look(items, &format!("{path}[]"), true, filled);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        look(field, &format!("{path}.{name}"), is_in_list, filled);
    }
}
