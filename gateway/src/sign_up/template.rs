//! The `spec` that every tenant gets which is made by a sign-up, from a file. Whether it is a valid one only the API server
//! can tell.

use std::{fs, io, path::Path};

use serde_json::Value;

/// A Tenant's `spec`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template(Value);

/// Why a file is no template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("--sign-up-template {path}: {error}: name a file that the gateway may read")]
    Unreadable { path: String, error: io::Error },
    #[error("--sign-up-template {path} is neither JSON nor YAML: {error}")]
    Malformed { path: String, error: String },
    #[error("--sign-up-template {path} holds {found}: it must hold the fields of a Tenant's spec, or {{}}")]
    NoSpec { path: String, found: &'static str },
    #[error(
        "--sign-up-template {path} holds a whole manifest: it must hold only what stands under a Tenant's spec"
    )]
    Manifest { path: String },
}

impl Template {
    pub(super) fn read(path: &Path) -> Result<Self, TemplateError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|error| TemplateError::Unreadable { path: name.clone(), error })?;
        Self::parse(&text, name)
    }

    /// JSON is YAML too.
    fn parse(text: &str, path: String) -> Result<Self, TemplateError> {
        let spec: Value = serde_saphyr::from_str(text)
            .map_err(|error| TemplateError::Malformed { path: path.clone(), error: error.to_string() })?;
        let found = match &spec {
            Value::Object(fields) if fields.contains_key("kind") || fields.contains_key("spec") => {
                return Err(TemplateError::Manifest { path });
            }
            Value::Object(_) => return Ok(Self(spec)),
            Value::Null => "nothing",
            Value::Array(_) => "a list",
            Value::String(_) | Value::Bool(_) | Value::Number(_) => "a single value",
        };
        Err(TemplateError::NoSpec { path, found })
    }

    pub(super) fn spec(&self) -> &Value {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml_are_taken_alike() {
        let expected = json!({"redis": {"version": "7.2"}, "suspend": false});
        for text in [
            r#"{"redis": {"version": "7.2"}, "suspend": false}"#,
            "redis:\n  version: \"7.2\"\nsuspend: false\n",
        ] {
            assert_eq!(*Template::parse(text, "f".into()).unwrap().spec(), expected, "{text}");
        }
        assert_eq!(*Template::parse("{}", "f".into()).unwrap().spec(), json!({}));
    }

    #[test]
    fn what_is_no_spec_is_refused_with_what_it_is() {
        for (text, says) in [
            ("", "f holds nothing: it must hold the fields"),
            ("[1]", "f holds a list"),
            ("redis", "f holds a single value"),
            ("{\"redis\":", "f is neither JSON nor YAML"),
            ("kind: Tenant\nspec: {}", "f holds a whole manifest"),
        ] {
            let said = Template::parse(text, "f".into()).unwrap_err().to_string();
            assert!(said.contains(says), "{text:?}: {said}");
        }
    }
}
