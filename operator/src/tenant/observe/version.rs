//! Which version of Redis is there, which has written the data, and whether pods of an earlier template are left.

use keystead_crds::TenantStatus;
use serde_json::Value;

use super::Observed;
use crate::{
    cache::Seen,
    tenant::{
        members::Member,
        names,
        rollout::members::{MemberState, Pod},
        sleep,
        validate::{Provisioned, version_numbers},
    },
};

impl Observed {
    /// The Redis that is there already, as its StatefulSet says. Whether it has ever come up, that does not say.
    pub fn provisioned(&self) -> Option<Provisioned<'_>> {
        self.sets_of_redis().find_map(|set| {
            let version = set.metadata("labels")?.get(names::VERSION_LABEL)?.as_str()?;
            let containers = set.at("/spec/template/spec/containers").and_then(Value::as_array);
            let redis = containers.into_iter().flatten().find(|it| it["name"] == names::REDIS);
            let image = redis.and_then(|it| it["image"].as_str());
            Some(Provisioned { version, image, has_written: false })
        })
    }

    /// Its version.
    pub fn provisioned_version(&self) -> Option<&str> {
        self.provisioned().map(|it| it.version)
    }

    /// The version of Redis that is seen to have written the data: what the StatefulSets say, where that is borne out. The tag of
    /// an image need not be a version, and the pods of one may never have run.
    pub fn running_version(&self, has_members: bool) -> Option<&str> {
        let named = self.provisioned_version()?;
        let says_so = |member: &Member| {
            let own = member.version.as_deref().and_then(version_numbers);
            own.is_some() && own == version_numbers(named)
        };
        let is_borne_out = if has_members {
            self.members.iter().any(says_so)
        } else {
            self.redis_is_rolled_out() && self.redis_ready() > 0
        };
        is_borne_out.then_some(named)
    }

    /// The version whose files the data is in, as far as that is known: of what runs, or where nothing does, of what ran last. That
    /// was not always noted; but a tenant that sleeps was settled before.
    pub fn data_version<'a>(&'a self, has_members: bool, status: &'a TenantStatus) -> Option<&'a str> {
        let noted = || status.redis.as_ref()?.data_version.as_deref();
        let is_asleep = || self.sleep().is_some_and(|it| it.stage == sleep::Stage::Asleep);
        let slept_with = || self.provisioned_version().filter(|_| is_asleep());
        self.running_version(has_members).or_else(noted).or_else(slept_with)
    }

    /// Whether no pod of an earlier template is left. It may be away nevertheless.
    pub fn redis_is_rolled_out(&self) -> bool {
        let is_rolled_out = |set: &Seen| is_replaced_by_us(set) || is_of_one_revision(set);
        let is_as_wanted = |it: &MemberState| !it.is_outdated && it.pod != Pod::Absent;
        self.has_redis()
            && self.sets_of_redis().all(|set| Self::is_seen_by_its_controller(set) && is_rolled_out(set))
            && (!self.sets_of_redis().any(is_replaced_by_us) || self.member_states().iter().all(is_as_wanted))
    }

    /// Whether pods of Redis are left that are to be replaced by others of a later template.
    pub fn redis_is_being_replaced(&self) -> bool {
        let by_its_controller = |set: &Seen| !is_replaced_by_us(set) && !is_of_one_revision(set);
        self.sets_of_redis().any(by_its_controller) || self.member_states().iter().any(|it| it.is_outdated)
    }
}

/// Where pods are replaced by us, the controller does not count them.
fn is_replaced_by_us(set: &Seen) -> bool {
    set.at("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete")
}

/// Whether no pod of an earlier template is left, as its controller says.
fn is_of_one_revision(set: &Seen) -> bool {
    set.at("/status/currentRevision") == set.at("/status/updateRevision")
}
