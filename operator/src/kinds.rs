//! The kinds of objects that the operator makes and watches. A table; no I/O.

use kube::core::{ApiResource, GroupVersionKind};

use crate::tenant::names;

/// A kind of object in Kubernetes, as far as the operator has to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    ServiceAccount,
    Secret,
    ConfigMap,
    Service,
    NetworkPolicy,
    PersistentVolumeClaim,
    StatefulSet,
    /// Only those of Redis and of Jobs: seen and deleted, never made.
    Pod,
    Deployment,
    /// Made when there is something for it to do.
    Job,
    HorizontalPodAutoscaler,
    PodDisruptionBudget,
}

impl Kind {
    /// Every kind, in the order of its variants.
    pub const ALL: [Self; 13] = [
        Self::Namespace,
        Self::ServiceAccount,
        Self::Secret,
        Self::ConfigMap,
        Self::Service,
        Self::NetworkPolicy,
        Self::PersistentVolumeClaim,
        Self::StatefulSet,
        Self::Pod,
        Self::Deployment,
        Self::Job,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
    ];

    /// As in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::StatefulSet => "StatefulSet",
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::Job => "Job",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }

    const fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::Namespace
            | Self::ServiceAccount
            | Self::Secret
            | Self::ConfigMap
            | Self::Service
            | Self::PersistentVolumeClaim
            | Self::Pod => ("", "v1"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1"),
            Self::StatefulSet | Self::Deployment => ("apps", "v1"),
            Self::Job => ("batch", "v1"),
            Self::HorizontalPodAutoscaler => ("autoscaling", "v2"),
            Self::PodDisruptionBudget => ("policy", "v1"),
        }
    }

    /// How the API server is asked for it.
    pub fn resource(self) -> ApiResource {
        let (group, version) = self.group_version();
        let gvk = GroupVersionKind::gvk(group, version, self.as_str());
        let plural = match self {
            Self::NetworkPolicy => "networkpolicies".to_owned(),
            _ => format!("{}s", self.as_str().to_ascii_lowercase()),
        };
        ApiResource::from_gvk_with_plural(&gvk, &plural)
    }

    /// Whether anything is decided from its status. Where not, a change of the status is no news.
    pub const fn status_matters(self) -> bool {
        matches!(
            self,
            Self::Namespace
                | Self::PersistentVolumeClaim
                | Self::StatefulSet
                | Self::Pod
                | Self::Deployment
                | Self::Job
        )
    }

    /// What holds data or the way to it: never removed because it is not wanted any more, only by a deletion policy. Pods go
    /// with what made them.
    pub fn is_kept(self, name: &str) -> bool {
        match self {
            Self::Namespace | Self::PersistentVolumeClaim | Self::Pod => true,
            Self::Secret => [names::CREDENTIALS, names::REDIS_CA, names::REDIS_TLS].contains(&name),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api_server() {
        assert_eq!(Kind::NetworkPolicy.resource().plural, "networkpolicies");
        assert_eq!(Kind::HorizontalPodAutoscaler.resource().api_version, "autoscaling/v2");
        assert_eq!(Kind::Secret.resource().api_version, "v1");
        assert_eq!(Kind::Job.resource().api_version, "batch/v1");
        assert_eq!(Kind::Job.resource().plural, "jobs");
        assert_eq!(Kind::PodDisruptionBudget.resource().plural, "poddisruptionbudgets");
    }
}
