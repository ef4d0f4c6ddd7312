//! The certificates of a tenant whose Redis speaks TLS, beside everything else: which step is due.

use k8s_openapi::jiff::Timestamp;

use super::{Desired, Step};
use crate::{
    cache::Seen,
    kinds::Kind,
    tenant::{
        build::{Object, services},
        certificates::{Authority, CHANGED_ANNOTATION, Names, Order, Situation, next, wants_authority},
        credentials, names,
        observe::Observed,
        validate::{Replicas, ValidTenant},
    },
};

/// What is due, and what somebody else has to do first.
#[derive(Debug, Default)]
pub(super) struct Certification {
    pub(super) steps: Vec<Step>,
    pub(super) lacks: Option<String>,
}

/// Whether it is one of the Secrets that are made here, and not applied.
pub(super) fn makes(object: &Object) -> bool {
    object.key.kind == Kind::Secret && [names::REDIS_CA, names::REDIS_TLS].contains(&object.key.name.as_str())
}

pub(super) fn steps(
    tenant: &ValidTenant,
    desired: &Desired,
    observed: &Observed,
    now: Timestamp,
) -> Certification {
    let none = Certification::default();
    let object = |name: &str| desired.objects.iter().find(|it| makes(it) && it.key.name == name).cloned();
    let seen = |name: &str| observed.get(Kind::Secret, name);
    if [names::REDIS_CA, names::REDIS_TLS].into_iter().filter_map(seen).any(Seen::is_terminating) {
        return none;
    }
    let Some(certificate) = object(names::REDIS_TLS) else { return none };
    let own = seen(names::REDIS_CA);
    let authority = match (&observed.authority, object(names::REDIS_CA)) {
        (Some(Ok(authority)), _) if authority.certificate.until <= now => {
            let lacks = "redis.tls.issuerSecretRef: the certificate of the CA has expired: renew it";
            return Certification { lacks: Some(lacks.into()), ..none };
        }
        (Some(Ok(authority)), _) => authority.clone(),
        (Some(Err(what)), _) => return Certification { lacks: Some(what.clone()), ..none },
        (None, Some(object)) => {
            let authority = own.and_then(|it| Authority::read(&credentials::contents(it.at("/data"))).ok());
            let version = own.map(|it| it.resource_version().to_owned());
            match authority {
                Some(authority) if !wants_authority(Some(&authority), now) => authority,
                _ => return Certification { steps: vec![Step::MakeAuthority { object, version }], ..none },
            }
        }
        (None, None) => return none,
    };
    let Some(names) = names_of(tenant, observed) else { return none };
    let (secret, issued) = (seen(names::REDIS_TLS), observed.issued());
    let annotation = || secret?.metadata("annotations")?.get(CHANGED_ANNOTATION)?.as_str()?.parse().ok();
    let change = next(&Situation {
        authority: &authority,
        issued: issued.as_ref(),
        names: &names,
        changed: annotation(),
        all_moved: tenant.worker.replicas == Replicas::Fixed(0) || observed.worker_is_rolled_out(),
        overlap: tenant.password_overlap,
        now,
    });
    let step = change.map(|change| Step::Certify {
        object: certificate,
        version: secret.map(|it| it.resource_version().to_owned()),
        order: Order {
            change,
            authority,
            names,
            contents: secret.map(|it| credentials::contents(it.at("/data"))).unwrap_or_default(),
        },
    });
    Certification { steps: step.into_iter().collect(), ..none }
}

/// None while a Service has no address.
fn names_of(tenant: &ValidTenant, observed: &Observed) -> Option<Names> {
    let mut wanted = services(tenant);
    wanted.push(names::REDIS.to_owned());
    wanted.extend(tenant.readers.as_ref().map(|_| names::REDIS_READERS.to_owned()));
    let addresses = observed.addresses(&wanted);
    let is_complete = addresses.len() == wanted.len();
    is_complete.then(|| Names::of(&tenant.name, addresses.iter().map(|(_, ip)| ip.as_str())))
}
