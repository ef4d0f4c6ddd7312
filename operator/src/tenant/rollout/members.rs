//! Which member of a Replicated tenant may be replaced now. Pure.
//!
//! One at a time, replicas first, the primary last and only while another can take over: the end of its pod hands over
//! (`build/scripts`). A member that does not come back stops everything, unless it is itself not as it is wanted.

/// A member with its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    pub name: String,
    /// Number of its shard in a Cluster topology.
    pub shard: Option<u8>,
    pub pod: Pod,
    pub role: Role,
    /// Its pod is not as it is wanted.
    pub is_outdated: bool,
    /// Why it may never come up as it is, in Kubernetes' word.
    pub trouble: Option<String>,
}

/// Where a member's pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pod {
    Absent,
    /// Ends.
    Ending,
    /// Not all of its processes run.
    NotReady,
    /// They run, and it is not ready.
    Running,
    Ready,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Named by most of the Sentinels, or of the members of a Cluster, and by its own word.
    Primary,
    /// Has all that the primary has, and may take over.
    InSync,
    /// Of a tenant that had only one Redis until now.
    Single,
    /// Of a Cluster: it holds nothing, and is no copy of one that does.
    Empty,
    /// None of these, or it does not answer.
    Other,
}

/// What may be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    Replace(String),
    Wait(Wait),
}

/// What has to happen first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub what: String,
    /// Whose turn it is, where one member is waited for.
    pub member: Option<String>,
}

impl Wait {
    /// For no member alone.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), member: None }
    }

    pub(super) fn on(member: &MemberState, what: String) -> Self {
        Self { what, member: Some(member.name.clone()) }
    }
}

/// The next step of a rollout over these members, in the order of their ordinals.
pub fn next(members: &[MemberState]) -> Next {
    if !members.iter().any(|it| it.is_outdated) {
        return Next::Done;
    }
    // No Sentinel watches it, and the others wait for it; but only where they run can they take it up.
    if let Some(single) = members.iter().find(|it| it.role == Role::Single && it.is_outdated) {
        let runs = |it: &&MemberState| matches!(it.pod, Pod::Running | Pod::Ready);
        if let Some(lacking) = members.iter().find(|it| it.name != single.name && !runs(it)) {
            return wait(lacking);
        }
        return match single.pod {
            Pod::Absent | Pod::Ending => wait(single),
            _ => Next::Replace(single.name.clone()),
        };
    }
    let works = |it: &&MemberState| it.pod == Pod::Ready && matches!(it.role, Role::Primary | Role::InSync);
    if let Some(moving) = members.iter().find(|it| matches!(it.pod, Pod::Absent | Pod::Ending)) {
        return wait(moving);
    }
    // Not ready and not as it is wanted: it serves nobody, and may never come back as it is.
    let is_ready = |it: &MemberState| it.pod == Pod::Ready;
    let broken = |it: &&MemberState| it.is_outdated && !is_ready(it) && it.role == Role::Other;
    if let Some(broken) = members.iter().rev().find(broken) {
        return Next::Replace(broken.name.clone());
    }
    if let Some(lacking) = members.iter().find(|it| !works(it)) {
        // Something beside its Redis does not work, and what is wanted now may mend it.
        let others_work = members.iter().filter(|it| it.name != lacking.name).all(|it| works(&it));
        let may_go = match lacking.role {
            Role::InSync => true,
            Role::Primary => members.iter().any(|it| it.role == Role::InSync),
            Role::Single | Role::Empty | Role::Other => false,
        };
        if lacking.is_outdated && !is_ready(lacking) && others_work && may_go {
            return Next::Replace(lacking.name.clone());
        }
        return wait(lacking);
    }
    let outdated = |role: Role| members.iter().rev().find(|it| it.is_outdated && it.role == role);
    if let Some(replica) = outdated(Role::InSync) {
        return Next::Replace(replica.name.clone());
    }
    match outdated(Role::Primary) {
        Some(primary) if members.iter().any(|it| it.role == Role::InSync) => {
            Next::Replace(primary.name.clone())
        }
        _ => Next::Wait(Wait::new("waits for a replica that can take over from the primary")),
    }
}

fn wait(for_: &MemberState) -> Next {
    Next::Wait(Wait::on(for_, waits_for(for_)))
}

/// What is said while a member lacks something.
pub(super) fn waits_for(member: &MemberState) -> String {
    let name = &member.name;
    match member.pod {
        Pod::Absent => format!("waits for the pod {name} to be made"),
        Pod::Ending => format!("waits for the pod {name} to end"),
        Pod::NotReady | Pod::Running => {
            let trouble = member.trouble.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
            format!("waits for {name} to be ready{trouble}; `kubectl describe pod` says why it is not")
        }
        Pod::Ready => format!("waits for {name} to have all that the primary has"),
    }
}

#[cfg(test)]
mod tests;
