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

/// The Go modules of the tools.
pub(crate) fn tool_sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools")
}
