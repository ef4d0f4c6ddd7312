//! The apiserver's audit log: who asked for what, so that a test can count it.

use std::fs;

use anyhow::Result;
use serde_json::Value;

use crate::cluster::Cluster;

/// A request that the apiserver has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub user: String,
    pub verb: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
    /// RFC 3339.
    pub time: String,
}

/// Every request so far.
pub fn entries(cluster: &Cluster) -> Result<Vec<Entry>> {
    let text = fs::read_to_string(cluster.state().join("log/audit.json"))?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .map(|event: Value| entry(&event))
        .collect())
}

fn entry(event: &Value) -> Entry {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Entry {
        user: text("/user/username"),
        verb: text("/verb"),
        resource: text("/objectRef/resource"),
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        time: text("/requestReceivedTimestamp"),
    }
}
