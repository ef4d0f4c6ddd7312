//! What an operation was done to.

use axum::{
    extract::{FromRequestParts as _, RawPathParams},
    http::{Method, request::Parts},
};

use crate::routes::{is_direct, key_of};

/// Longer names are cut off: a request may name in its path what no key can be.
const MAX_BYTES: usize = 256;

/// What an operation was done to, as far as it is one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Touched {
    #[default]
    Nothing,
    Key(String),
    /// A job, an API key, an account.
    Target(String),
    /// So many operations of a batch.
    Items(usize),
}

impl Touched {
    pub(crate) fn key(key: &str) -> Self {
        Self::Key(cut(key))
    }

    pub(crate) fn target(name: &str) -> Self {
        Self::Target(cut(name))
    }

    /// What the path names.
    pub(crate) async fn of_path(parts: &mut Parts) -> Self {
        // `/kv/batch` is a path of its own, and a key as well.
        if parts.method != Method::POST && parts.uri.path().ends_with("/kv/batch") {
            return Self::Key("batch".into());
        }
        if is_direct(&parts.method, parts.uri.path()) {
            return key_of(parts.uri.path()).map_or(Self::Nothing, |key| Self::key(&key));
        }
        // One that is no UTF-8 is refused.
        let Ok(parameters) = RawPathParams::from_request_parts(parts, &()).await else {
            return Self::Nothing;
        };
        parameters
            .iter()
            .find_map(|(name, value)| match name {
                "key" => Some(Self::key(value)),
                "id" => Some(Self::target(value)),
                _ => None,
            })
            .unwrap_or_default()
    }
}

fn cut(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        assert_eq!(cut("ü/1"), "ü/1");
        assert_eq!(cut(&"ü".repeat(300)).len(), 256);
        assert_eq!(cut(&format!("a{}", "ü".repeat(300))).len(), 255);
    }
}
