//! The name of a tenant: a DNS label short enough for every name derived from it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A tenant's name: 1–40 characters of `[a-z0-9-]`, beginning with a letter or digit and ending with one.
///
/// It is a DNS label (RFC 1123) and leaves room for what is put before and after it in names of Kubernetes objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantName(String);

/// The text is not a [`TenantName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant's name has 1 to 40 characters, lower-case letters, digits and '-', and begins and ends with a letter or digit"
)]
pub struct InvalidTenantName;

impl TenantName {
    /// Longest name, in characters.
    pub const MAX_LENGTH: usize = 40;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = InvalidTenantName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends_well = bytes.first().is_some_and(|b| inner(*b)) && bytes.last().is_some_and(|b| inner(*b));
        if ends_well && bytes.len() <= Self::MAX_LENGTH && bytes.iter().all(|b| inner(*b) || *b == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTenantName)
        }
    }
}

impl TryFrom<String> for TenantName {
    type Error = InvalidTenantName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TenantName> for String {
    fn from(name: TenantName) -> Self {
        name.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_dns_labels() {
        for good in ["a", "7", "acme", "a-b", &"x".repeat(40)] {
            assert!(good.parse::<TenantName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ü", &"x".repeat(41)] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad}");
        }
    }
}
