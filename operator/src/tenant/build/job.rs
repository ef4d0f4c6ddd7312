//! The Job that distributes the data of a Cluster tenant over its shards. It is not among the objects that are wanted at all
//! times: the rollout has it made when the shards are not as they are wanted.

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{Object, object, owned, redis_pod};
use crate::{
    kinds::Kind,
    tenant::{
        names,
        validate::{Shards, ValidTenant},
    },
};

/// In which also a large tenant is done, in seconds. What it has moved until then stays moved.
const DEADLINE: i64 = 6 * 60 * 60;
/// For which its log can be read when it is done, in seconds.
const KEPT: i32 = 60 * 60;

pub(super) fn reshape(tenant: &ValidTenant, shards: &Shards) -> Object {
    let namespace = names::namespace(&tenant.name);
    let job = Job {
        metadata: owned(tenant, &namespace, names::REDIS_RESHAPE, Some(names::REDIS_RESHAPE)),
        spec: Some(JobSpec {
            // The operator has it tried again, and tells why.
            backoff_limit: Some(0),
            active_deadline_seconds: Some(DEADLINE),
            // Never two at once: they would move the same slots.
            pod_replacement_policy: Some("Failed".into()),
            ttl_seconds_after_finished: Some(KEPT),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names::labels(&tenant.name, Some(names::REDIS_RESHAPE))),
                    ..ObjectMeta::default()
                }),
                spec: Some(redis_pod::reshape(tenant, shards.wanted)),
            },
            ..JobSpec::default()
        }),
        ..Job::default()
    };
    object(Kind::Job, &job)
}
