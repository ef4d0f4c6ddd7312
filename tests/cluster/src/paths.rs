//! Where things are: what is built is kept in a cache outside the tree, what runs has a state folder.

use std::{env, path::PathBuf};

/// `$KEYSTEAD_CACHE`, or `keystead` in the user's cache folder.
pub fn cache() -> PathBuf {
    if let Some(cache) = env::var_os("KEYSTEAD_CACHE") {
        return cache.into();
    }
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    base.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache"))
        .join("keystead")
}

/// `$KEYSTEAD_CLUSTER_DIR`, or a folder of the system's.
pub fn state() -> PathBuf {
    env::var_os("KEYSTEAD_CLUSTER_DIR").map_or_else(|| "/var/lib/keystead-cluster".into(), PathBuf::from)
}

/// The Go module of a tool: those of other projects under `tools/`, our own in a folder of `tests/`.
pub(crate) fn tool_source(name: &str) -> PathBuf {
    let cluster = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let others = cluster.join("tools").join(name);
    if others.exists() { others } else { cluster.join("..").join(name) }
}
