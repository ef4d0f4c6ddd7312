//! What an installation of the operator has settled for all tenants. No I/O.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;

/// The images that versions of Redis stand for: `7.0=docker.io/library/redis:7.0,8.0=…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageTable(pub BTreeMap<String, String>);

/// The text is no table of images.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not <version>=<image>: write the table as 7.0=docker.io/library/redis:7.0,8.0=docker.io/library/redis:8.0"
)]
pub struct InvalidImageTable(String);

impl FromStr for ImageTable {
    type Err = InvalidImageTable;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let table = entries
            .map(|entry| {
                let (version, image) =
                    entry.split_once('=').ok_or_else(|| InvalidImageTable(entry.into()))?;
                let (version, image) = (version.trim(), image.trim());
                if version.is_empty() || image.is_empty() {
                    return Err(InvalidImageTable(entry.into()));
                }
                Ok((version.to_owned(), image.to_owned()))
            })
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        if table.is_empty() { Err(InvalidImageTable(text.into())) } else { Ok(Self(table)) }
    }
}

/// What holds for every tenant.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the gateway runs and reads its routes.
    pub gateway_namespace: String,
    /// The image that holds `/usr/local/bin/keystead-worker`.
    pub worker_image: String,
    pub redis_images: ImageTable,
    /// The version of a tenant that names none; one of `redis_images`.
    pub default_redis_version: String,
    /// Where workers send their traces; none: nowhere.
    pub tracing: Option<Tracing>,
    /// For how long a password is still valid after another took its place.
    pub password_overlap: Duration,
    /// How often a tenant's Redis is asked what is used.
    pub usage_interval: Duration,
    /// Whether autoscalers of workers go by the depth of the queue, besides by CPU: somebody serves that as an external metric.
    pub queue_metric: bool,
    /// Of so many tenants at most the Redis is restarted at the same time.
    pub max_concurrent_rollouts: usize,
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// As OTLP over HTTP, such as `http://collector:4318`.
    pub endpoint: String,
    /// Of the jobs that nobody before them has had traced.
    pub share: f64,
    /// What the workers' NetworkPolicies allow for it.
    pub egress: EgressRules,
}

/// Rules as in a NetworkPolicy, as a JSON list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EgressRules(pub Vec<NetworkPolicyEgressRule>);

impl FromStr for EgressRules {
    type Err = InvalidEgress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rules: Vec<NetworkPolicyEgressRule> = serde_json::from_str(text)?;
        // A rule without peers opens everything: a misspelt field must not.
        if rules.iter().any(|rule| rule.to.as_ref().is_none_or(Vec::is_empty)) {
            return Err(InvalidEgress::Everywhere);
        }
        Ok(Self(rules))
    }
}

/// The text is no list of egress rules.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEgress {
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
    #[error("an egress rule without `to` would open everything: name the collector's pods or addresses")]
    Everywhere,
}

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--default-redis-version {version} is not in --redis-images: add it there, or choose one of {known}")]
pub struct UnknownDefaultVersion {
    version: String,
    known: String,
}

impl Settings {
    /// Refuses settings that would fail for every tenant.
    pub fn checked(self) -> Result<Self, UnknownDefaultVersion> {
        if self.redis_images.0.contains_key(&self.default_redis_version) {
            return Ok(self);
        }
        let known = self.redis_images.0.keys().cloned().collect::<Vec<_>>().join(", ");
        Err(UnknownDefaultVersion { version: self.default_redis_version, known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_images_is_read() {
        let table: ImageTable = "7.0=r:7.0, 8.0=h:5000/r@sha256:ab=".parse().unwrap();
        assert_eq!(table.0["8.0"], "h:5000/r@sha256:ab=");
        for wrong in ["", ",", "7.0", "7.0=", "=x"] {
            assert!(wrong.parse::<ImageTable>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rule_that_opens_everything_is_refused() {
        let to = r#"[{"to": [{"namespaceSelector": {}}], "ports": [{"port": 4318}]}]"#;
        assert_eq!(to.parse::<EgressRules>().unwrap().0.len(), 1);
        for wrong in [r#"[{"too": [{}], "ports": [{"port": 4318}]}]"#, "[{}]", r#"[{"to": []}]"#, "{}"] {
            assert!(wrong.parse::<EgressRules>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_default_version_outside_the_table_is_refused_with_what_there_is() {
        let settings = Settings {
            gateway_namespace: "g".into(),
            worker_image: "w".into(),
            redis_images: "7.0=r,7.2=s".parse().unwrap(),
            default_redis_version: "6.2".into(),
            tracing: None,
            password_overlap: Duration::ZERO,
            usage_interval: Duration::from_secs(30),
            queue_metric: false,
            max_concurrent_rollouts: 10,
        };
        assert_eq!(
            settings.checked().unwrap_err().to_string(),
            "--default-redis-version 6.2 is not in --redis-images: add it there, or choose one of 7.0, 7.2"
        );
    }
}
