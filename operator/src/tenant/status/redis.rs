//! `status.redis`: the members with their parts, and of the last change of a primary. Pure.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use keystead_crds::{Failover, MemberRole, MemberStatus, RedisStatus, TenantStatus};

use super::Outcome;
use crate::tenant::{
    build,
    members::{self, Member, Says, cluster},
    names,
    observe::Observed,
    rollout::members::Pod,
    rotation::Stage,
    validate::{Arrangement, Shards},
};

pub(super) fn status(outcome: &Outcome<'_>, previous: &TenantStatus, now: Timestamp) -> Option<RedisStatus> {
    let former = previous.redis.as_ref();
    let Some(valid) = outcome.valid else { return former.cloned() };
    let members = &outcome.observed.members;
    let ready_members = outcome.observed.redis_ready();
    if valid.rests() {
        // Nobody can be asked; who was the primary is who may resume.
        return former.map(|former| RedisStatus {
            ready_members,
            ready_readers: None,
            members: Vec::new(),
            handing_over: None,
            ..former.clone()
        });
    }
    let primary = match valid.redis.arrangement {
        Arrangement::Standalone => (ready_members > 0).then(|| names::FIRST_POD.to_owned()),
        Arrangement::Replicated { .. } => members::primary(members).map(|it| it.name.clone()),
        Arrangement::Cluster(_) => None,
    };
    let primaries = valid.redis.shards().map(|shards| primaries(shards, members, former)).unwrap_or_default();
    let change = match valid.redis.shards() {
        None => former.map(last_primary).zip(primary.clone()).filter(|(from, to)| from != to),
        Some(_) => former.and_then(|former| changes(former, &primaries).pop()),
    };
    let handing_over = former.and_then(|former| handing_over(former, outcome.observed));
    let failover = change.map(|(from, to)| {
        let reason = if handing_over.as_ref() == Some(&from) { "HandOver" } else { "Failover" };
        let shard = names::shard_of(&to).map(i32::from);
        Failover { at: Time(now), shard, from, to, reason: reason.into() }
    });
    let took_over = |name: &String| failover.as_ref().is_some_and(|it| it.from == *name);
    let is_back = |name: &String| {
        (primary.as_ref() == Some(name) || primaries.contains(name)) && is_ready(outcome.observed, name)
    };
    Some(RedisStatus {
        handing_over: handing_over.filter(|it| !took_over(it) && !is_back(it)),
        topology: Some(valid.redis.topology().as_str().to_owned()),
        version: Some(valid.redis.version.clone()),
        data_version: {
            let runs = outcome.observed.running_version(valid.redis.has_members()).map(str::to_owned);
            runs.or_else(|| former.and_then(|it| it.data_version.clone()))
        },
        primary,
        primaries,
        shards: valid.redis.shards().map(|shards| {
            let holding = shards.numbers().filter(|shard| cluster::holds(members, *shard));
            i32::try_from(holding.count()).unwrap_or_default()
        }),
        ready_members,
        ready_readers: outcome.observed.readers_ready(),
        members: match valid.redis.arrangement {
            // It is only asked, as a member is, while its passwords change; who is the primary is no question.
            Arrangement::Standalone => Vec::new(),
            _ => members.iter().map(|it| member_status(it, members)).collect(),
        },
        rotation: match outcome.observed.rotation() {
            Stage::Idle => None,
            stage => Some(format!("{stage:?}")),
        },
        last_failover: failover.or_else(|| former.and_then(|it| it.last_failover.clone())),
    })
}

/// The primary whose pod the operator ends, or has ended: by the time that all know of another one, it may be back.
fn handing_over(former: &RedisStatus, observed: &Observed) -> Option<String> {
    let was_primary = |name: &String| match names::shard_of(name) {
        Some(_) => former.primaries.contains(name),
        None => last_primary(former) == *name,
    };
    let states = observed.member_states();
    let ends = states.into_iter().filter(|it| it.is_outdated && it.pod == Pod::Ending).map(|it| it.name);
    ends.chain(former.handing_over.clone()).find(was_primary)
}

fn is_ready(observed: &Observed, name: &str) -> bool {
    observed.member_states().iter().any(|it| it.name == name && it.pod == Pod::Ready)
}

/// The primary that was known last: in between there may be none for a while.
fn last_primary(status: &RedisStatus) -> String {
    let failover = status.last_failover.as_ref().map(|it| it.to.clone());
    status.primary.clone().or(failover).unwrap_or_else(|| names::FIRST_POD.to_owned())
}

/// The primary of each shard, or the one of before while there is none.
fn primaries(shards: &Shards, members: &[Member], former: Option<&RedisStatus>) -> Vec<String> {
    let before = |shard: u8| {
        let mut names = former.into_iter().flat_map(|it| &it.primaries);
        names.find(|name| names::shard_of(name) == Some(shard)).cloned()
    };
    let of = |shard: u8| {
        let now = cluster::primary(members, shard).map(|it| it.name.clone());
        now.or_else(|| before(shard))
    };
    shards.numbers().filter_map(of).collect()
}

/// Of which shards the primary is another one now: from whom to whom.
pub(super) fn changes(former: &RedisStatus, primaries: &[String]) -> Vec<(String, String)> {
    let change = |to: &String| {
        let of_shard = |from: &&String| names::shard_of(from) == names::shard_of(to);
        let from = former.primaries.iter().find(of_shard).filter(|from| *from != to)?;
        Some((from.clone(), to.clone()))
    };
    primaries.iter().filter_map(change).collect()
}

fn member_status(member: &Member, members: &[Member]) -> MemberStatus {
    let shard = names::shard_of(&member.name);
    let primary = match shard {
        Some(shard) => cluster::primary(members, shard),
        None => members::primary(members),
    };
    let lag = |primary: &Member| match &primary.says {
        Some(Says::Primary { replicas }) => replicas
            .iter()
            .find(|(ip, _)| *ip == member.ip)
            .map(|(_, lag)| if *lag < 2 { 0 } else { (lag / 10 + 1) * 10 }),
        _ => None,
    };
    MemberStatus {
        name: member.name.clone(),
        address: build::address(&member.ip, names::REDIS_PORT),
        shard: shard.map(i32::from),
        role: match &member.says {
            Some(Says::Primary { .. }) if primary.is_some_and(|it| it.name == member.name) => {
                MemberRole::Primary
            }
            Some(_) if cluster::is_empty(member) => MemberRole::Empty,
            Some(Says::Replica { in_sync: true, .. }) => MemberRole::Replica,
            Some(Says::Replica { in_sync: false, .. }) => MemberRole::Syncing,
            // One that takes itself for the primary and is not named is about to be told otherwise.
            Some(Says::Primary { .. }) | None => MemberRole::Unknown,
        },
        version: member.version.clone(),
        lag_seconds: primary.and_then(lag),
    }
}
