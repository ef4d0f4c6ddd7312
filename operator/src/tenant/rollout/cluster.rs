//! What may be done now with the members of a Cluster tenant. Pure.
//!
//! Members are replaced one at a time over all shards, replicas first, a primary only while a replica of its shard can take
//! over: the end of its pod hands over (`build/scripts`). Data is moved between shards by a Job, and only while no member is
//! being replaced. Who is a primary, Redis decides.

use k8s_openapi::jiff::Timestamp;

use super::{
    members::{self, MemberState, Next as Step, Pod, Role, Wait, waits_for},
    reshape::Job,
};

/// What the next step follows from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// In the order of their shards and ordinals.
    pub members: &'a [MemberState],
    /// Members that there are to be.
    pub wanted: usize,
    /// What is to be done with the data, see [`lacks`](crate::tenant::members::cluster::lacks).
    pub lacks: Option<&'a str>,
    /// Whether a slot is on its way: while no Job goes on with it, what is in it cannot be changed.
    pub has_open_slot: bool,
    /// Shards of which nobody says that they own a slot; of one that is on its way they may have keys.
    pub without_slots: &'a [u8],
    pub job: &'a Job,
    pub now: Timestamp,
}

/// What may be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// With the members.
    Members(members::Next),
    /// Has the Job made anew.
    Distribute,
    /// Removes the Job, which cannot begin.
    GiveUp,
}

/// The next step.
pub fn next(situation: &Situation<'_>) -> Next {
    let lacks = situation.lacks.unwrap_or("finish what was begun");
    match situation.job {
        Job::Runs => return wait(format!("the Job redis-reshape runs, to {lacks}")),
        Job::Stuck => return Next::GiveUp,
        Job::Ends => return wait("waits for the Job redis-reshape to end"),
        Job::Absent | Job::Finished(_) => {}
    }
    let members = situation.members;
    if members.iter().any(|it| it.is_outdated) {
        return Next::Members(replace(members));
    }
    let has_failed = matches!(situation.job, Job::Finished(finished) if finished.failure.is_some());
    if situation.lacks.is_none() && !has_failed {
        return Next::Members(Step::Done);
    }
    if members.len() < situation.wanted {
        return wait("waits for the members to be made");
    }
    let lacks_something = |it: &&MemberState| it.pod != Pod::Ready || it.role == Role::Other;
    if let Some(lacking) = members.iter().find(lacks_something)
        && !(situation.has_open_slot && all_serve(situation))
    {
        return Next::Members(lacking_in(members, lacking));
    }
    match situation.job {
        Job::Finished(finished) if situation.now < finished.next_at() => {
            wait(format!("waits before the Job redis-reshape tries again to {lacks}"))
        }
        _ => Next::Distribute,
    }
}

/// Whether all data can be reached, also with some members away.
fn all_serve(situation: &Situation<'_>) -> bool {
    let members = situation.members;
    let of = |shard| members.iter().filter(move |it| it.shard == shard);
    members.iter().all(|it| {
        let is_unused = it.shard.is_some_and(|shard| situation.without_slots.contains(&shard));
        of(it.shard).any(|it| it.pod == Pod::Ready && it.role == Role::Primary)
            || (is_unused && of(it.shard).all(|it| it.pod == Pod::Ready))
    })
}

fn wait(what: impl Into<String>) -> Next {
    Next::Members(Step::Wait(Wait::new(what)))
}

fn replace(members: &[MemberState]) -> Step {
    if let Some(moving) = members.iter().find(|it| matches!(it.pod, Pod::Absent | Pod::Ending)) {
        return lacking_in(members, moving);
    }
    let is_ready = |it: &MemberState| it.pod == Pod::Ready;
    // It serves nobody: it holds nothing, or it is not ready and may never come back as it is.
    let serves_nobody = |it: &&MemberState| {
        it.is_outdated && (it.role == Role::Empty || (!is_ready(it) && it.role == Role::Other))
    };
    if let Some(broken) = members.iter().rev().find(serves_nobody) {
        return Step::Replace(broken.name.clone());
    }
    let has_heir =
        |of: &MemberState| members.iter().any(|it| it.shard == of.shard && it.role == Role::InSync);
    let may_go = |it: &MemberState| match it.role {
        Role::InSync => true,
        Role::Primary => has_heir(it) || is_only_one(members, it),
        Role::Single | Role::Empty | Role::Other => false,
    };
    let works = |it: &&MemberState| {
        let is_part = match it.role {
            Role::Primary | Role::InSync => true,
            // Of a shard that holds nothing yet, or nothing any more.
            Role::Empty => {
                !members.iter().any(|other| other.shard == it.shard && other.role == Role::Primary)
            }
            Role::Single | Role::Other => false,
        };
        is_ready(it) && is_part
    };
    if let Some(lacking) = members.iter().find(|it| !works(it)) {
        // Something beside its Redis does not work, and what is wanted now may mend it.
        let others_work = members.iter().filter(|it| it.name != lacking.name).all(|it| works(&it));
        if lacking.is_outdated && !is_ready(lacking) && others_work && may_go(lacking) {
            return Step::Replace(lacking.name.clone());
        }
        return lacking_in(members, lacking);
    }
    let outdated = |role: Role| members.iter().rev().filter(move |it| it.is_outdated && it.role == role);
    let chosen = outdated(Role::InSync).next().or_else(|| outdated(Role::Primary).find(|it| may_go(it)));
    match chosen {
        Some(member) => Step::Replace(member.name.clone()),
        None => Step::Wait(Wait::new("waits for a replica that can take over from the primary of its shard")),
    }
}

fn is_only_one(members: &[MemberState], member: &MemberState) -> bool {
    members.iter().filter(|it| it.shard == member.shard).count() == 1
}

/// While a member lacks something.
fn lacking_in(members: &[MemberState], member: &MemberState) -> Step {
    let mut what = waits_for(member);
    if is_only_one(members, member) {
        what.push_str("; its part of the data is away meanwhile, as redis.replicasPerShard is 0");
    }
    Step::Wait(Wait::on(member, what))
}

#[cfg(test)]
mod tests;
