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
