//! The spec that a pass goes by: that of the Tenant, or while it is refused the one that was accepted last. That is kept in an
//! annotation of the tenant's namespace, which is written before whatever follows from it. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keystead_crds::{Tenant, TenantSpec, TenantStatus, Topology};
use serde::{Deserialize, Serialize};

use super::{
    names,
    observe::Observed,
    validate::{self, Arrangement, Invalid, Provisioned, ValidRedis, ValidTenant, validate},
};
use crate::settings::Settings;

/// Of the namespace: what is kept, as JSON.
pub const ANNOTATION: &str = "keystead.io/accepted-spec";
/// A larger one is not kept: the API server takes 256 KiB for all annotations of an object.
const MOST_BYTES: usize = 100_000;

/// A spec that was accepted, and whose it is: a later Tenant of the same name has nothing to do with it.
#[derive(Serialize, Deserialize)]
struct Accepted<S> {
    uid: Option<String>,
    generation: Option<i64>,
    /// The Redis that it meant then.
    version: String,
    image: String,
    spec: S,
}

impl<S> Accepted<S> {
    fn redis(&self) -> Provisioned<'_> {
        Provisioned { version: &self.version, image: Some(&self.image), has_written: false }
    }
}

/// What a pass goes by.
#[derive(Debug)]
pub struct Chosen {
    pub valid: ValidTenant,
    /// Why the Tenant's own spec is not what this follows from.
    pub refusal: Option<Invalid>,
}

/// The spec of a Tenant as it is kept; none where it is too large for that.
pub fn text(tenant: &Tenant, redis: &ValidRedis) -> Option<String> {
    let accepted = Accepted {
        uid: tenant.metadata.uid.clone(),
        generation: tenant.metadata.generation,
        version: names::label_value(&redis.version),
        image: redis.image.clone(),
        spec: &tenant.spec,
    };
    serde_json::to_string(&accepted).ok().filter(|text| text.len() <= MOST_BYTES)
}

/// The Tenant's own spec, or the one before while that is refused. Where neither can be carried out, why its own cannot.
pub fn choose(
    tenant: &Tenant,
    settings: &Settings,
    observed: &Observed,
    status: &TenantStatus,
) -> Result<Chosen, Invalid> {
    let refusal = match validated(tenant, settings, observed, status) {
        Ok(valid) => return Ok(Chosen { valid, refusal: None }),
        Err(refusal) => refusal,
    };
    match former(tenant, observed).map(|former| validated(&former, settings, observed, status)) {
        Some(Ok(valid)) => Ok(Chosen { valid, refusal: Some(refusal) }),
        Some(Err(_)) | None => Err(refusal),
    }
}

/// What is kept of this Tenant.
fn kept(tenant: &Tenant, observed: &Observed) -> Option<Accepted<TenantSpec>> {
    let text = observed.namespace()?.metadata("annotations")?.get(ANNOTATION)?.as_str()?;
    let accepted: Accepted<TenantSpec> = serde_json::from_str(text).ok()?;
    (accepted.uid.is_some() && accepted.uid == tenant.metadata.uid).then_some(accepted)
}

/// The Tenant as it was when its spec was accepted last. Its annotations are no part of the spec, and hold as they are.
fn former(tenant: &Tenant, observed: &Observed) -> Option<Tenant> {
    let accepted = kept(tenant, observed)?;
    let metadata = ObjectMeta { generation: accepted.generation, ..tenant.metadata.clone() };
    Some(Tenant { metadata, spec: accepted.spec, status: None })
}

/// The spec, with what is there and cannot just be left: an unnamed version, and shards that may still hold data.
fn validated(
    tenant: &Tenant,
    settings: &Settings,
    observed: &Observed,
    status: &TenantStatus,
) -> Result<ValidTenant, Invalid> {
    let has_members = tenant.spec.redis.topology != Topology::Standalone;
    let data_version = observed.data_version(has_members, status);
    // Somebody may have deleted its StatefulSets.
    let kept = if observed.has_redis() { None } else { kept(tenant, observed) };
    let kept = kept.as_ref().map(Accepted::redis);
    let provisioned = observed.provisioned().or(kept);
    let provisioned =
        provisioned.map(|it| Provisioned { has_written: data_version == Some(it.version), ..it });
    let mut valid = validate(tenant, settings, provisioned)?;
    if let Some(version) = data_version {
        validate::takes_the_place_of(&valid.redis, version)?;
    }
    if let Arrangement::Cluster(shards) = &mut valid.redis.arrangement {
        shards.leaving = observed.leaving(shards.wanted);
    }
    Ok(valid)
}

#[cfg(test)]
mod tests;
