//! What no watch tells and is asked for at the beginning of a pass. Decides nothing.

use std::fmt::Display;

use k8s_openapi::api::core::v1::Secret;
use keystead_crds::Tenant;
use keystead_route::TenantName;
use kube::Api;
use serde_json::Value;

use super::{
    accepted::{self, Chosen},
    build::services,
    certificates::Authority,
    credentials::{self, Outside, signing},
    members::{self, Login, Member},
    names,
    observe::Observed,
    rotation::Stage,
    sleep::{self, Idle},
    validate::{Arrangement, ValidTenant},
};
use crate::context::Context;

/// What no watch tells.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) members: Vec<Member>,
    pub(super) outside: Option<Result<Outside, String>>,
    /// The key that signs tokens, where somebody else keeps that.
    pub(super) outside_key: Option<Result<Outside, String>>,
    /// Who signs certificates, where somebody else keeps that.
    pub(super) authority: Option<Result<Authority, String>>,
    /// Of one that sleeps where nobody uses it.
    pub(super) idle: Option<Idle>,
}

/// Asks Redis how it is, where that decides something, and reads the secrets that somebody else keeps.
pub(super) async fn ask(tenant: &Tenant, name: &TenantName, context: &Context) -> Asked {
    let observed = Observed::of(&context.cache, name, &context.settings.gateway_namespace);
    let chosen = accepted::choose(tenant, &context.settings, &observed, &context.status_of(tenant));
    let Ok(Chosen { valid, .. }) = chosen else {
        return Asked::default();
    };
    let secret = valid.redis.existing_secret.as_deref();
    let read = |data: &Value| Outside::read(Some(data), valid.needs());
    let outside = kept("redis.credentials.existingSecret", secret, &valid, context, read).await;
    let secret = valid.auth.existing_secret.as_deref();
    let read = |data: &Value| signing::outside(Some(data), valid.auth.signing);
    let outside_key = kept("auth.existingSecret", secret, &valid, context, read).await;
    let secret = valid.redis.tls.as_ref().and_then(|tls| tls.issuer_secret.as_deref());
    let read = |data: &Value| Authority::read(&credentials::contents(Some(data)));
    let authority = kept("redis.tls.issuerSecretRef", secret, &valid, context, read).await;
    let stage = observed.sleep().map(|sleep| sleep.stage);
    let runs = observed.has_redis() && stage != Some(sleep::Stage::Asleep);
    let may_be_idle =
        valid.idle_after.is_some() && matches!(stage, Some(sleep::Stage::Awake | sleep::Stage::Drowsy));
    let asks_members = valid.redis.has_members() || observed.rotation() != Stage::Idle;
    let credentials = observed.credentials(valid.needs()).filter(|_| runs);
    let Some(credentials) = credentials.filter(|_| asks_members || may_be_idle) else {
        return Asked { outside, outside_key, authority, ..Asked::default() };
    };
    let addresses = observed.addresses(&services(&valid));
    let ca = observed.issued().filter(|_| valid.redis.tls.is_some()).map(|issued| issued.ca());
    let (password, next) = (&credentials.monitor_password, &credentials.next);
    let members = if asks_members {
        members::look(&addresses, valid.redis.topology(), password, next, ca.as_deref()).await
    } else {
        Vec::new()
    };
    let idle = if may_be_idle {
        let login = Login { user: names::MONITOR_USER, password, ca: ca.as_deref() };
        sleep::ask::ask(&with_queue(&valid, &addresses, &members), &login).await
    } else {
        None
    };
    Asked { members, outside, outside_key, authority, idle }
}

/// Addresses of those of which one has the queue.
fn with_queue<'a>(
    valid: &ValidTenant,
    addresses: &'a [(String, String)],
    members: &'a [Member],
) -> Vec<&'a str> {
    match valid.redis.arrangement {
        Arrangement::Replicated { .. } => {
            members::primary(members).map(|it| it.ip.as_str()).into_iter().collect()
        }
        Arrangement::Standalone | Arrangement::Cluster(_) => {
            addresses.iter().map(|(_, ip)| ip.as_str()).collect()
        }
    }
}

/// Reads what somebody else keeps in the Secret that this field of the spec names; none where it names none.
async fn kept<T, E: Display>(
    field: &str,
    secret: Option<&str>,
    valid: &ValidTenant,
    context: &Context,
    read: impl FnOnce(&Value) -> Result<T, E>,
) -> Option<Result<T, String>> {
    let secret = secret?;
    let whose = format!("{field}: the Secret {}/{secret}", names::namespace(&valid.name));
    Some(match data(secret, valid, context).await {
        Ok(data) => read(&data).map_err(|wrong| format!("{whose}: {wrong}")),
        Err(wrong) => Err(format!("{whose} {wrong}")),
    })
}

/// The data of a Secret in the tenant's namespace that is not ours.
async fn data(secret: &str, valid: &ValidTenant, context: &Context) -> Result<Value, String> {
    let api: Api<Secret> = Api::namespaced(context.client.0.clone(), &names::namespace(&valid.name));
    let found = api.get_opt(secret).await.map_err(|error| format!("cannot be read: {error}"))?;
    let found = found.ok_or_else(|| "is not there yet".to_owned())?;
    Ok(serde_json::to_value(found.data).unwrap_or_default())
}
