//! The Secret for the tenant's own clients: where its Redis is and who they are there, so that nobody has to be given the Secret
//! `credentials`. Its entries have the names that Service Binding gives them:
//! <https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries>.

use k8s_openapi::{ByteString, api::core::v1::Secret};
use keystead_route::Endpoint;

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    tenant::{credentials::Credentials, names, validate::ValidTenant},
};

/// Kubernetes type of such a Secret, by that specification.
const SECRET_TYPE: &str = "servicebinding.io/redis";

/// None where nobody may reach Redis but us. Of a password that is being replaced it has the one that all use.
pub(super) fn build(
    tenant: &ValidTenant,
    credentials: &Credentials,
    endpoint: &Endpoint,
    ca: Option<&str>,
) -> Option<Object> {
    let password = credentials.members.get(names::APP_USER).filter(|_| tenant.has_clients())?;
    let who = [("type", "redis"), ("username", names::APP_USER), ("password", password.expose())];
    let entries = place(endpoint)
        .into_iter()
        .chain(who.map(|(name, text)| (name, text.to_owned())))
        .chain(ca.map(|ca| ("ca.crt", ca.to_owned())))
        .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())));
    let namespace = names::namespace(&tenant.name);
    let secret = Secret {
        metadata: owned(tenant, &namespace, names::REDIS_APP, Some(names::REDIS)),
        type_: Some(SECRET_TYPE.into()),
        data: Some(entries.collect()),
        ..Secret::default()
    };
    Some(object(Kind::Secret, &secret))
}

/// Where it is, for whoever knows one address only, and for whoever knows what several are to each other. By addresses, as
/// members and Sentinels name each other; they never change.
fn place(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let (first, others) = match endpoint {
        Endpoint::Standalone { address } => (Some(address), Vec::new()),
        Endpoint::Replicated { primary_name, sentinels, members, .. } => (
            members.first(),
            vec![("sentinels", sentinels.join(",")), ("primary-name", primary_name.clone())],
        ),
        Endpoint::Cluster { shards } => {
            (shards.iter().flatten().next(), vec![("nodes", shards.concat().join(","))])
        }
    };
    let first = first.and_then(|address| address.rsplit_once(':'));
    let host = first.map(|(host, _)| ("host", host.trim_matches(['[', ']']).to_owned()));
    let port = first.map(|(_, port)| ("port", port.to_owned()));
    host.into_iter().chain(port).chain(others).collect()
}
