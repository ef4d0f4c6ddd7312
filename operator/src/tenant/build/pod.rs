//! What the pods of every component have in common, so that Pod Security `restricted` admits them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, EnvVar, KeyToPath, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile,
        SecretVolumeSource, SecurityContext, Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use crate::tenant::{names, validate::ValidResources};

/// User and group of every process. Images need no such user: no file outside of volumes is written.
const USER: i64 = 65532;

/// A pod without token, capabilities or root.
pub(super) fn spec(component: &str) -> PodSpec {
    PodSpec {
        service_account_name: Some(component.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}

pub(super) fn resources(resources: &ValidResources) -> ResourceRequirements {
    let mut limits: BTreeMap<String, Quantity> =
        [("memory".to_owned(), resources.memory_limit.clone())].into();
    if let Some(cpu) = &resources.cpu_limit {
        limits.insert("cpu".into(), cpu.clone());
    }
    ResourceRequirements {
        requests: Some(
            [
                ("cpu".to_owned(), resources.cpu_request.clone()),
                ("memory".to_owned(), resources.memory_request.clone()),
            ]
            .into(),
        ),
        limits: Some(limits),
        ..ResourceRequirements::default()
    }
}

/// One entry of the Secret `credentials` as the file `password` of a volume.
pub(super) fn password(volume: &str, entry: &str) -> Volume {
    credentials(volume, [(entry, "password")])
}

/// Entries of the Secret `credentials` as files of a volume: a pod sees its own and no others.
pub(super) fn credentials<'a>(volume: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Volume {
    let item = |(entry, path): (&str, &str)| KeyToPath { key: entry.into(), path: path.into(), mode: None };
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names::CREDENTIALS.into()),
            items: Some(files.into_iter().map(item).collect()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub(super) fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

pub(super) fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}
