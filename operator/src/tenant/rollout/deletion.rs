//! In which order a Tenant goes. Pure.

use keystead_crds::DeletionPolicy;

use super::{Plan, Step};
use crate::{
    cache::Seen,
    kinds::Kind,
    tenant::{build::retained, observe::Observed},
};

/// The next steps of a deletion; with none and nothing to wait for, it is done. The route goes first: the gateway stops
/// before anything that it serves from. Then the pods, and after them what they need, or with `Delete` everything.
pub fn plan(policy: DeletionPolicy, observed: &Observed) -> Plan {
    let delete = |seen: &Seen, and_pods: bool| Step::Delete {
        key: seen.key.clone(),
        uid: seen.uid().to_owned(),
        and_pods,
    };
    let ours = || observed.objects.values().filter(|it| observed.is_ours(&it.key));
    let at_the_gateway: Vec<_> = (observed.route().into_iter())
        .chain(ours().map(AsRef::as_ref).filter(|it| observed.is_call(&it.key)))
        .map(|it| delete(it, false))
        .collect();
    if !at_the_gateway.is_empty() {
        return Plan::of(at_the_gateway);
    }
    let runs_pods = |kind: Kind| matches!(kind, Kind::StatefulSet | Kind::Deployment | Kind::Job);
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
            ..Plan::default()
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
            Plan { steps, waits_for: Some(waits_for.trim_end().to_owned()), ..Plan::default() }
        }
        DeletionPolicy::Retain => {
            let Some(namespace) = observed.namespace() else { return Plan::default() };
            let kept = retained(&namespace.key.name);
            let gone: Vec<_> =
                ours().filter(|it| !kept.contains(&it.key) && !it.key.kind.is_kept(&it.key.name)).collect();
            let steps = gone.iter().filter(|it| !it.is_terminating()).map(|it| delete(it, false)).collect();
            let waits_for =
                (!gone.is_empty()).then(|| "waits for what is not retained to be gone".to_owned());
            Plan { steps, waits_for, ..Plan::default() }
        }
    }
}
