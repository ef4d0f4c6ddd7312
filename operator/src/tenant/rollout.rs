//! Which steps are safe now. Pure: a plan is the difference between what is desired and what is observed, as far as it
//! may be carried out at this moment; what must come later follows from the next observation.
//!
//! The order: the namespace; what pods need to start (accounts, secrets, configuration, Services, policies); then the
//! pods and the route. Nothing is removed before everything that is wanted is known.

mod certificates;
pub mod cluster;
pub mod deletion;
pub mod growth;
pub mod members;
pub mod reshape;
pub mod restart;
pub mod signing;
pub mod turns;
pub mod workers;

use k8s_openapi::jiff::Timestamp;
use keystead_route::Algorithm;

use super::{
    build::Object,
    certificates::Order,
    compare,
    credentials::{self, Needs, Outside},
    members::cluster::{has_open_slot, holds, lacks},
    names,
    observe::Observed,
    rotation::{self, CARRIED_OUT_ANNOTATION, Change, Situation},
    validate::{Replicas, Shards, ValidTenant},
};
use crate::{
    cache::{Key, Seen},
    kinds::Kind,
};
use members::{MemberState, Next};

/// One thing to do. The steps of a plan do not depend on each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Only if there is none of that name, or it is the tenant's already.
    CreateNamespace(Object),
    /// Generates the secrets, only if there are none.
    CreateCredentials {
        object: Object,
        needs: Needs,
        outside: Outside,
    },
    /// Generates those secrets that are missing.
    CompleteCredentials {
        key: Key,
        needs: Needs,
        outside: Outside,
    },
    /// Takes a rotation of the passwords one step further.
    Rotate {
        key: Key,
        change: Change,
        needs: Needs,
        outside: Option<Outside>,
        request: Option<String>,
    },
    /// Takes a rotation of the signing key one step further.
    RotateSigning {
        key: Key,
        change: rotation::signing::Change,
        signing: Algorithm,
        outside: Option<Outside>,
        request: Option<String>,
    },
    /// Makes who signs certificates anew, whoever it was before.
    MakeAuthority {
        object: Object,
        /// Of the Secret that is there.
        version: Option<String>,
    },
    /// Takes the certificate, or who is trusted, one step further.
    Certify {
        object: Object,
        version: Option<String>,
        order: Order,
    },
    Apply(Object),
    /// Makes a Job, in the place of the one before where there is one, which has ended.
    Begin {
        object: Object,
        before: Option<String>,
    },
    /// Lifts a workload to the least that its autoscaler would lift it to anyway, or begins and ends what that leaves alone.
    Scale {
        key: Key,
        replicas: i32,
        /// Only if nobody has written it since.
        version: Option<String>,
    },
    /// Asks for a larger volume.
    Grow {
        key: Key,
        size: String,
    },
    /// Removes an object, and leaves its pods to the one that takes its place.
    Release {
        key: Key,
        uid: String,
    },
    /// With `and_pods`, the object is there until its pods are gone.
    Delete {
        key: Key,
        uid: String,
        and_pods: bool,
    },
}

/// What to do now, and what has to happen first for the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub waits_for: Option<String>,
    /// The member that the rollout waits for, where it is one.
    pub waits_on: Option<String>,
}

/// What is built, and whether that is everything.
#[derive(Clone, Debug)]
pub struct Desired {
    pub objects: Vec<Object>,
    pub is_complete: bool,
    /// The Job that distributes data over shards, made when there is something for it to do.
    pub reshape: Option<Object>,
}

impl Plan {
    /// Nothing to do and nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.waits_for.is_none()
    }

    /// Takes out the growth of volumes: where it is refused, that is to stop nothing else.
    pub fn take_growth(&mut self) -> Vec<Step> {
        self.steps.extract_if(.., |step| matches!(step, Step::Grow { .. })).collect()
    }

    fn wait(what: impl Into<String>) -> Self {
        Self { waits_for: Some(what.into()), ..Self::default() }
    }

    fn of(steps: Vec<Step>) -> Self {
        Self { steps, ..Self::default() }
    }
}

/// The next steps towards what is desired.
pub fn plan(tenant: &ValidTenant, desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = without_growth(tenant, desired, observed, now);
    // Beside whatever comes next: a member may just be waited for because its volume is full.
    if observed.namespace().is_some_and(|it| !it.is_terminating()) {
        plan.steps.extend(growth::steps(tenant, observed));
    }
    plan
}

fn without_growth(tenant: &ValidTenant, desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let Some(namespace) = observed.namespace() else {
        let namespace = desired.objects.iter().find(|it| it.key.kind == Kind::Namespace);
        return Plan::of(namespace.cloned().map(Step::CreateNamespace).into_iter().collect());
    };
    if namespace.is_terminating() {
        return Plan::wait(format!(
            "the namespace {} is being deleted: it is made anew when that is done. {}",
            namespace.key.name,
            observed.namespace_waits_for()
        ));
    }

    let (outside, lacks_outside) = split(observed.outside.as_ref());
    let (key, lacks_key) = split(observed.outside_key.as_ref());
    let has_passwords = observed.credentials(tenant.needs()).is_some();
    if let Some(what) = lacks_outside.filter(|_| !has_passwords) {
        return Plan::wait(what);
    }
    if let Some(what) = lacks_key.filter(|_| !has_signing_key(observed)) {
        return Plan::wait(what);
    }
    let given = outside.clone().unwrap_or_default().and(key.unwrap_or_default());
    let certification = certificates::steps(tenant, desired, observed, now);
    if let Some(what) = certification.lacks.as_ref().filter(|_| observed.issued().is_none()) {
        return Plan::wait(what);
    }
    let mut ending = None;
    let mut foundation: Vec<Step> = credentials_step(tenant, observed, &given).into_iter().collect();
    foundation.extend(certification.steps);
    let mut workloads = Vec::new();
    for object in &desired.objects {
        let seen = observed.by_key(&object.key);
        if seen.is_some_and(|it| compare::has(&it.body, &object.body)) {
            continue;
        }
        if seen.is_some_and(Seen::is_terminating) {
            ending = Some(format!("{} is being deleted: it is made anew when that is done", object.key));
            continue;
        }
        if certificates::makes(object) && seen.is_none() {
            continue;
        }
        if object.key.kind == Kind::Secret && object.key.name == names::CREDENTIALS && seen.is_none() {
            foundation.push(Step::CreateCredentials {
                object: object.clone(),
                needs: tenant.needs(),
                outside: given.clone(),
            });
            continue;
        }
        if let Some(seen) = seen.filter(|seen| is_of_another_kind(seen, object)) {
            workloads.push(Step::Release { key: object.key.clone(), uid: seen.uid().to_owned() });
        } else if is_workload(object, observed) {
            workloads.push(Step::Apply(object.clone()));
        } else {
            foundation.push(Step::Apply(object.clone()));
        }
    }
    if !foundation.is_empty() || ending.is_some() {
        return Plan { steps: foundation, waits_for: ending, ..Plan::default() };
    }
    // Before anything is restarted.
    if let Some(first) = workloads.iter().position(restart::tells) {
        return Plan::of(vec![workloads.swap_remove(first)]);
    }
    if !workloads.is_empty() {
        return Plan::of(workloads);
    }
    if !desired.is_complete {
        return Plan::wait("a Service of Redis has no address yet");
    }
    let mut steps = superfluous(tenant, desired, observed);
    steps.extend(scale(tenant, observed));
    steps.extend(workers::step(tenant, observed, observed.demand.as_ref(), now));
    // The route is as it is wanted, and nothing else is needed for it: no Redis either.
    steps.extend(signing::step(tenant, observed, now));
    if !steps.is_empty() {
        return Plan::of(steps);
    }
    if tenant.rests() {
        // Whatever needs its Redis is done when it is awake.
        return Plan::default();
    }
    let states = observed.member_states();
    let next = match tenant.redis.shards() {
        None => members::next(&states),
        Some(shards) => match distribute(shards, desired, observed, &states, now) {
            Distribution::Step(step) => return Plan::of(vec![*step]),
            Distribution::Members(next) => next,
        },
    };
    match next {
        Next::Done => match lacks_outside.or(certification.lacks.as_ref()) {
            // What is there goes on as it is.
            Some(what) => Plan::wait(what),
            None => Plan {
                steps: rotate(tenant, observed, outside, now).into_iter().collect(),
                waits_for: lacks_key.cloned(),
                ..Plan::default()
            },
        },
        Next::Wait(wait) => Plan { waits_on: wait.member, ..Plan::wait(wait.what) },
        Next::Replace(name) => Plan::of(replace(observed, &name).into_iter().collect()),
    }
}

/// What somebody else keeps, and why it cannot be taken.
fn split(read: Option<&Result<Outside, String>>) -> (Option<Outside>, Option<&String>) {
    match read {
        Some(Ok(outside)) => (Some(outside.clone()), None),
        Some(Err(what)) => (None, Some(what)),
        None => (None, None),
    }
}

fn has_signing_key(observed: &Observed) -> bool {
    observed.credential_contents().is_some_and(|contents| credentials::signing::is_there(&contents))
}

/// The next step of a rotation of the passwords, where everything else is as it is wanted.
fn rotate(
    tenant: &ValidTenant,
    observed: &Observed,
    outside: Option<Outside>,
    now: Timestamp,
) -> Option<Step> {
    let contents = observed.credential_contents()?;
    let members = &observed.members;
    let worker_moved = tenant.worker.replicas == Replicas::Fixed(0) || observed.worker_is_rolled_out();
    let change = rotation::next(&Situation {
        contents: &contents,
        request: tenant.rotation_request.as_deref(),
        carried_out: observed.credentials_annotation(CARRIED_OUT_ANNOTATION),
        since: observed.passwords_since(),
        rotate_after: tenant.redis.rotate_after,
        outside: outside.as_ref().map(|it| &it.0),
        all_accept_next: !members.is_empty() && members.iter().all(|it| it.accepts_next),
        all_moved: worker_moved,
        overlap: tenant.password_overlap,
        now,
    })?;
    let key = observed.get(Kind::Secret, names::CREDENTIALS)?.key.clone();
    let request = tenant.rotation_request.clone();
    Some(Step::Rotate { key, change, needs: tenant.needs(), outside, request })
}

/// What comes next in a Cluster.
enum Distribution {
    /// With the Job that distributes the data.
    Step(Box<Step>),
    Members(Next),
}

fn distribute(
    shards: &Shards,
    desired: &Desired,
    observed: &Observed,
    states: &[MemberState],
    now: Timestamp,
) -> Distribution {
    let lacks = lacks(&observed.members, shards.wanted, &shards.leaving);
    let job = reshape::job(observed, desired.reshape.as_ref());
    let without_slots: Vec<u8> = shards.numbers().filter(|shard| !holds(&observed.members, *shard)).collect();
    let situation = cluster::Situation {
        members: states,
        wanted: shards.numbers().map(|shard| shards.pods(shard).count()).sum(),
        lacks: lacks.as_deref(),
        has_open_slot: has_open_slot(&observed.members),
        without_slots: &without_slots,
        job: &job,
        now,
    };
    let seen = observed.get(Kind::Job, names::REDIS_RESHAPE);
    let uid = seen.map(|it| it.uid().to_owned());
    match (cluster::next(&situation), &desired.reshape) {
        (cluster::Next::Distribute, Some(wanted)) => {
            let object = reshape::next(wanted, &job);
            Distribution::Step(Box::new(Step::Begin { object, before: uid }))
        }
        (cluster::Next::GiveUp, Some(wanted)) => Distribution::Step(Box::new(Step::Delete {
            key: wanted.key.clone(),
            uid: uid.unwrap_or_default(),
            and_pods: false,
        })),
        (cluster::Next::Members(next), _) => Distribution::Members(next),
        (cluster::Next::Distribute | cluster::Next::GiveUp, None) => Distribution::Members(Next::Done),
    }
}

/// The StatefulSet makes the pod anew, as it is wanted now.
fn replace(observed: &Observed, pod: &str) -> Option<Step> {
    let pod = observed.get(Kind::Pod, pod)?;
    Some(Step::Delete { key: pod.key.clone(), uid: pod.uid().to_owned(), and_pods: false })
}

fn credentials_step(tenant: &ValidTenant, observed: &Observed, outside: &Outside) -> Option<Step> {
    let contents = observed.credential_contents()?;
    let needs = tenant.needs();
    let secret = observed.get(Kind::Secret, names::CREDENTIALS)?;
    (!credentials::is_complete(&contents, needs)).then(|| Step::CompleteCredentials {
        key: secret.key.clone(),
        needs,
        outside: outside.clone(),
    })
}

/// The API server takes no other `podManagementPolicy`.
fn is_of_another_kind(seen: &Seen, object: &Object) -> bool {
    let policy = "/spec/podManagementPolicy";
    object.key.kind == Kind::StatefulSet
        && object.body.pointer(policy).is_some_and(|wanted| seen.at(policy).is_some_and(|it| it != wanted))
}

/// Pods, what counts them, and the route: they come after what they need.
fn is_workload(object: &Object, observed: &Observed) -> bool {
    match object.key.kind {
        Kind::StatefulSet | Kind::Deployment | Kind::HorizontalPodAutoscaler | Kind::PodDisruptionBudget => {
            true
        }
        Kind::Secret => observed.namespace().is_some_and(|it| it.key.name != object.key.namespace),
        _ => false,
    }
}

/// What is ours, is not wanted any more, and holds no data: also the volumes of shards whose data is with others.
fn superfluous(tenant: &ValidTenant, desired: &Desired, observed: &Observed) -> Vec<Step> {
    let wanted = |key: &Key| desired.objects.iter().any(|object| object.key == *key);
    // A Job does what was begun, and goes by itself. A call stays until it is heeded.
    let stays = |key: &Key| {
        key.kind.is_kept(&key.name) || key.kind == Kind::Job || (tenant.rests() && observed.is_call(key))
    };
    let objects = observed.objects.values().map(AsRef::as_ref);
    let unwanted = objects
        .filter(|it| observed.is_ours(&it.key) && !stays(&it.key))
        .filter(|it| !wanted(&it.key) && !it.is_terminating());
    let emptied = observed
        .claims()
        .filter(|(number, _)| tenant.redis.shards().is_some_and(|it| !it.numbers().any(|it| it == *number)))
        .map(|(_, claim)| claim);
    let delete = |it: &Seen| Step::Delete { key: it.key.clone(), uid: it.uid().to_owned(), and_pods: false };
    // One after the other, so that a step that fails leaves enough to see what was begun: the members of a shard that goes
    // say until their end that they hold nothing.
    let emptied: Vec<Step> = emptied.map(delete).collect();
    if !emptied.is_empty() {
        return emptied;
    }
    let (sets, rest): (Vec<&Seen>, Vec<&Seen>) = unwanted.partition(|it| it.key.kind == Kind::StatefulSet);
    let next = if sets.is_empty() { rest } else { sets };
    next.into_iter().map(delete).collect()
}

/// Without a number in what is applied, a new workload starts with one pod.
fn scale(tenant: &ValidTenant, observed: &Observed) -> Vec<Step> {
    let worker = match &tenant.worker.replicas {
        Replicas::Scaled(scaling) => Some((Kind::Deployment, names::WORKER, scaling.min)),
        Replicas::Fixed(_) => None,
    };
    let readers = tenant.readers.as_ref().map(|it| (Kind::StatefulSet, names::REDIS_READERS, it.min));
    let step = |(kind, name, least)| {
        let key = observed.get(kind, name)?.key.clone();
        (observed.replicas(kind, name) < least).then_some(Step::Scale { key, replicas: least, version: None })
    };
    [worker, readers].into_iter().flatten().filter_map(step).collect()
}

#[cfg(test)]
mod tests;
