//! What a tenant has beyond the others whose Redis speaks TLS: the Secrets without their contents, which are made once and
//! renewed, lines of redis.conf, and what is mounted where.

use k8s_openapi::api::core::v1::{KeyToPath, Secret, SecretVolumeSource, Volume, VolumeMount};

use super::{Object, object, pod, unowned};
use crate::{
    kinds::Kind,
    tenant::{certificates::TRUSTED, names, validate::ValidTenant},
};

const VOLUME: &str = "tls";
const FOLDER: &str = "/etc/keystead/tls";

/// In place of the line with the port. Who may do what is settled by the users: nobody needs a certificate to log in.
/// Directives: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/encryption/>.
pub const REDIS_CONF: &str = "port 0
tls-port 6379
tls-cert-file /etc/keystead/tls/tls.crt
tls-key-file /etc/keystead/tls/tls.key
tls-ca-cert-file /etc/keystead/tls/ca.crt
tls-auth-clients no
tls-replication yes
tls-cluster yes
tls-protocols \"TLSv1.2 TLSv1.3\"
";

/// The script that the others read: how they ask by TLS, and how Redis learns of another certificate.
pub const SCRIPT: (&str, &str) = ("tls.sh", include_str!("scripts/tls.sh"));

/// The Secrets without their contents, which are never applied. They have no owner: they are kept with the data.
pub(super) fn secrets(tenant: &ValidTenant) -> Vec<Object> {
    let secret = |name: &str| {
        let namespace = names::namespace(&tenant.name);
        let metadata = unowned(&tenant.name, Some(&namespace), name, None);
        object(Kind::Secret, &Secret { metadata, ..Secret::default() })
    };
    let Some(tls) = &tenant.redis.tls else { return Vec::new() };
    let authority = tls.issuer_secret.is_none().then(|| secret(names::REDIS_CA));
    authority.into_iter().chain([secret(names::REDIS_TLS)]).collect()
}

/// The certificate with its key, for those who are asked.
pub(super) fn certificate() -> Volume {
    volume(None)
}

/// Only who is trusted, for those who ask.
pub(super) fn trusted() -> Volume {
    volume(Some(vec![KeyToPath { key: TRUSTED.into(), path: TRUSTED.into(), mode: None }]))
}

pub(super) fn trusted_file() -> String {
    format!("{FOLDER}/{TRUSTED}")
}

pub(super) fn mount() -> VolumeMount {
    pod::mount(VOLUME, FOLDER, true)
}

fn volume(items: Option<Vec<KeyToPath>>) -> Volume {
    Volume {
        name: VOLUME.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names::REDIS_TLS.into()),
            items,
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}
