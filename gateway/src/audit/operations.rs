//! What operations are called: as the API's description has it.

use std::{collections::HashMap, sync::LazyLock};

use axum::http::Method;
use foldhash::fast::RandomState;

use crate::routes::description;

/// Methods of a path, each with the name of its operation.
type Methods = Vec<(String, String)>;

/// By path.
static NAMES: LazyLock<HashMap<String, Methods, RandomState>> = LazyLock::new(|| {
    // A description that is no JSON names nothing; a test looks at all names.
    let document = serde_json::to_value(description()).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut names: HashMap<_, _, _> = HashMap::default();
    for (path, methods) in paths {
        let methods = methods.as_object().into_iter().flatten();
        let named = methods.filter_map(|(method, operation)| {
            let name = operation["operationId"].as_str()?;
            Some((method.to_uppercase(), name.to_owned()))
        });
        let named: Methods = named.collect();
        for prefix in ["", "/api/v1", "/t/{tenant}", "/t/{tenant}/api/v1"] {
            names.insert(format!("{prefix}{path}"), named.clone());
        }
    }
    names
});

/// The name of what a request asks for.
pub(crate) fn operation(method: &Method, path: &str) -> &'static str {
    let find = |path: &str| -> Option<&'static str> {
        let (_, name) = NAMES.get(path)?.iter().find(|(known, _)| known == method.as_str())?;
        Some(name)
    };
    // `/kv/batch` is a path of its own, and a key as well.
    let as_key = || find(&format!("{}/{{key}}", path.strip_suffix("/batch")?));
    // A tenant's health is described where it stands alone.
    let alone = || find(&path.replacen("/api/v1", "", 1));
    find(path).or_else(as_key).or_else(alone).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_as_the_description_names_them() {
        for (method, path, name) in [
            (Method::GET, "/api/v1/kv/{key}", "read_entry"),
            (Method::HEAD, "/t/{tenant}/api/v1/kv/{key}", "read_entry"),
            (Method::POST, "/t/{tenant}/api/v1/kv/batch", "batch"),
            (Method::PUT, "/api/v1/kv/batch", "write_entry"),
            (Method::GET, "/t/{tenant}/diag", "diag"),
            (Method::GET, "/t/{tenant}/health", "tenant_health"),
            (Method::GET, "/t/{tenant}/api/v1/health", "tenant_health"),
            (Method::GET, "/t/{tenant}/api/v1/nothing", "unknown"),
            (Method::POST, "/api/v1/auth/login", "login"),
            (Method::GET, "/api/v1/audit", "read_audit_log"),
        ] {
            assert_eq!(operation(&method, path), name, "{method} {path}");
        }
    }
}
