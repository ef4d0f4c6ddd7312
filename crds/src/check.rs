//! Evaluates the rules of the schema on an object in process, as the apiserver does: defaults first, then the CEL rules.
//! Bounds, enums and patterns of the schema are the apiserver's alone.

use kube::core::cel::{Validator, apply_defaults};
use serde_json::Value;

use crate::schema::open_api_schema;

/// The rules that an object broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Refused(pub Vec<String>);

/// Evaluates the CEL rules of a Tenant manifest, and of its change from `old` where there is one.
pub fn check(tenant: &Value, old: Option<&Value>) -> Result<(), Refused> {
    let schema = open_api_schema();
    let tenant = apply_defaults(&schema, tenant);
    let old = old.map(|old| apply_defaults(&schema, old));
    // What is missing in a default is filled in by a second pass.
    let tenant = apply_defaults(&schema, &tenant);
    let old = old.map(|old| apply_defaults(&schema, &old));
    Validator::new().validate(&schema, &tenant, old.as_ref()).map_err(|errors| {
        Refused(errors.into_iter().map(|error| format!("{}: {}", error.field_path, error.message)).collect())
    })
}
