//! Which steps are safe now. Pure: a plan is the difference between what is desired and what is observed, as far as it
//! may be carried out at this moment; what must come later follows from the next observation.
//!
//! The order: the namespace; what pods need to start (accounts, secrets, configuration, Services, policies); then the
//! pods and the route. Nothing is removed before everything that is wanted is known.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use keystead_crds::{DeletionPolicy, bytes};
use serde_json::Value;

use super::{
    build::{Object, retained, wanted_claim},
    compare,
    credentials::{self, Needs},
    names,
    observe::Observed,
    validate::{Replicas, ValidTenant},
};
use crate::{
    cache::{Key, Seen},
    kinds::Kind,
};

/// One thing to do. The steps of a plan do not depend on each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Only if there is none of that name, or it is the tenant's already.
    CreateNamespace(Object),
    /// Generates the secrets, only if there are none.
    CreateCredentials {
        object: Object,
        needs: Needs,
    },
    /// Generates those secrets that are missing.
    CompleteCredentials {
        key: Key,
        needs: Needs,
    },
    Apply(Object),
    /// Lifts a Deployment to the least that its autoscaler would lift it to anyway.
    Scale {
        key: Key,
        replicas: i32,
    },
    /// Asks for a larger volume.
    Grow {
        key: Key,
        size: String,
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
}

/// What is built, and whether that is everything.
#[derive(Clone, Debug)]
pub struct Desired {
    pub objects: Vec<Object>,
    pub is_complete: bool,
}

impl Plan {
    /// Nothing to do and nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.waits_for.is_none()
    }

    fn wait(what: impl Into<String>) -> Self {
        Self { steps: Vec::new(), waits_for: Some(what.into()) }
    }

    fn of(steps: Vec<Step>) -> Self {
        Self { steps, waits_for: None }
    }
}

/// The next steps towards what is desired.
pub fn plan(tenant: &ValidTenant, desired: &Desired, observed: &Observed) -> Plan {
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

    let mut ending = None;
    let mut foundation: Vec<Step> = credentials_step(tenant, observed).into_iter().collect();
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
        if object.key.kind == Kind::Secret && object.key.name == names::CREDENTIALS && seen.is_none() {
            foundation.push(Step::CreateCredentials { object: object.clone(), needs: tenant.needs() });
            continue;
        }
        if is_workload(object, observed) {
            workloads.push(Step::Apply(object.clone()));
        } else {
            foundation.push(Step::Apply(object.clone()));
        }
    }
    if !foundation.is_empty() || ending.is_some() {
        return Plan { steps: foundation, waits_for: ending };
    }
    if !workloads.is_empty() {
        return Plan::of(workloads);
    }
    if !desired.is_complete {
        return Plan::wait("the Service redis has no address yet");
    }
    let mut steps = superfluous(desired, observed);
    steps.extend(scale(tenant, observed));
    steps.extend(grow(tenant, observed));
    Plan::of(steps)
}

/// The next steps of a deletion; with none and nothing to wait for, it is done. The route goes first: the gateway stops
/// before anything that it serves from. Then the pods, and after them what they need, or with `Delete` everything.
pub fn plan_deletion(policy: DeletionPolicy, observed: &Observed) -> Plan {
    let delete = |seen: &Seen, and_pods: bool| Step::Delete {
        key: seen.key.clone(),
        uid: seen.uid().to_owned(),
        and_pods,
    };
    if let Some(route) = observed.route() {
        return Plan::of(vec![delete(route, false)]);
    }
    let ours = || observed.objects.values().filter(|it| observed.is_ours(&it.key));
    let runs_pods = |kind: Kind| matches!(kind, Kind::StatefulSet | Kind::Deployment);
    let pods: Vec<_> = ours().filter(|it| runs_pods(it.key.kind)).collect();
    if !pods.is_empty() {
        let names: Vec<String> = pods.iter().map(|it| it.key.to_string()).collect();
        return Plan {
            steps: ours()
                .filter(|it| runs_pods(it.key.kind) || it.key.kind == Kind::HorizontalPodAutoscaler)
                .filter(|it| !it.is_terminating())
                .map(|it| delete(it, runs_pods(it.key.kind)))
                .collect(),
            waits_for: Some(format!("waits for the pods of {} to end", names.join(" and "))),
        };
    }
    match policy {
        DeletionPolicy::Delete => {
            let Some(namespace) = observed.namespace() else { return Plan::default() };
            let data = |kind: Kind| matches!(kind, Kind::PersistentVolumeClaim | Kind::Namespace);
            let steps = ours()
                .filter(|it| data(it.key.kind) && !it.is_terminating())
                .map(|it| delete(it, false))
                .collect();
            let waits_for = format!(
                "waits for the namespace {} to be gone. {}",
                namespace.key.name,
                observed.namespace_waits_for()
            );
            Plan { steps, waits_for: Some(waits_for.trim_end().to_owned()) }
        }
        DeletionPolicy::Retain => {
            let Some(namespace) = observed.namespace() else { return Plan::default() };
            let kept = retained(&namespace.key.name);
            let gone: Vec<_> =
                ours().filter(|it| !kept.contains(&it.key) && !it.key.kind.is_kept(&it.key.name)).collect();
            let steps = gone.iter().filter(|it| !it.is_terminating()).map(|it| delete(it, false)).collect();
            let waits_for =
                (!gone.is_empty()).then(|| "waits for what is not retained to be gone".to_owned());
            Plan { steps, waits_for }
        }
    }
}

fn credentials_step(tenant: &ValidTenant, observed: &Observed) -> Option<Step> {
    let contents = observed.credential_contents()?;
    let needs = tenant.needs();
    let secret = observed.get(Kind::Secret, names::CREDENTIALS)?;
    (!credentials::is_complete(&contents, needs))
        .then(|| Step::CompleteCredentials { key: secret.key.clone(), needs })
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

/// What is ours, is not wanted any more, and holds no data.
fn superfluous(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let wanted = |key: &Key| desired.objects.iter().any(|object| object.key == *key);
    observed
        .objects
        .values()
        .filter(|it| observed.is_ours(&it.key) && !it.key.kind.is_kept(&it.key.name))
        .filter(|it| !wanted(&it.key) && !it.is_terminating())
        .map(|it| Step::Delete { key: it.key.clone(), uid: it.uid().to_owned(), and_pods: false })
        .collect()
}

/// Without a number in what is applied, a new Deployment starts with one pod.
fn scale(tenant: &ValidTenant, observed: &Observed) -> Option<Step> {
    let Replicas::Scaled(scaling) = &tenant.worker.replicas else { return None };
    let deployment = observed.get(Kind::Deployment, names::WORKER)?;
    (observed.worker_replicas() < scaling.min)
        .then(|| Step::Scale { key: deployment.key.clone(), replicas: scaling.min })
}

fn grow(tenant: &ValidTenant, observed: &Observed) -> Option<Step> {
    let (key, size) = wanted_claim(tenant)?;
    // One that has no volume yet cannot grow.
    let is_bound = |it: &&Seen| it.at("/status/phase").and_then(Value::as_str) == Some("Bound");
    let claim = observed.by_key(&key).filter(is_bound).filter(|it| !it.is_terminating())?;
    let present = claim.at("/spec/resources/requests/storage").and_then(Value::as_str)?;
    let amount = |text: &str| bytes(&Quantity(text.to_owned())).ok();
    (amount(present)? < amount(&size)?).then_some(Step::Grow { key, size })
}

#[cfg(test)]
mod tests;
