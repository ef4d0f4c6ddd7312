//! Writes the Tenant itself: its finalizer, its status, and events about it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keystead_crds::{FIELD_MANAGER, FINALIZER, Tenant, TenantSpec, TenantStatus};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType},
    },
};
use serde_json::{Value, json};

use super::{
    now,
    observe::Observed,
    status::{self, Outcome},
};
use crate::{context::Context, error::Error};

pub(super) async fn add_finalizer(tenant: &Tenant, context: &Context) -> Result<(), Error> {
    // With the uid: a Tenant that has gone in the meantime is not made anew by this.
    let body = manifest(tenant.meta(), &[FINALIZER], None);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let answer = tenants(context).patch(&tenant.name_any(), &params, &Patch::Apply(&body)).await;
    context.metrics.wrote_tenant("finalizer");
    answer.map(drop).map_err(|source| api_error("put the finalizer on the Tenant", source))
}

/// Lets a Tenant go of which nothing is left that is not to stay.
pub(super) async fn let_go(tenant: &Tenant, context: &Context) -> Result<Action, Error> {
    let name = tenant.name_any();
    let failed = |source| api_error("take the finalizer off the Tenant", source);
    let Some(found) = tenants(context).get_metadata_opt(&name).await.map_err(failed)? else {
        return Ok(Action::await_change());
    };
    if found.metadata.uid == tenant.metadata.uid {
        let finalizers: Vec<_> = found.finalizers().iter().filter(|it| *it != FINALIZER).collect();
        let patch = json!({
            "metadata": { "finalizers": finalizers, "resourceVersion": found.metadata.resource_version },
        });
        match tenants(context).patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            answer => drop(answer.map_err(failed)?),
        }
        context.metrics.wrote_tenant("finalizer");
    }
    context.forget(&name);
    tracing::info!(tenant = name, "the tenant is gone");
    Ok(Action::await_change())
}

/// Writes the status where it has changed, and tells of a transition.
pub(super) async fn write_status(
    tenant: &Tenant,
    previous: TenantStatus,
    current: TenantStatus,
    context: &Context,
) -> Result<(), Error> {
    if previous == current {
        return Ok(());
    }
    let body = manifest(tenant.meta(), &[], Some(&current));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let answer = tenants(context).patch_status(&tenant.name_any(), &params, &Patch::Apply(&body)).await;
    context.metrics.wrote_tenant("status");
    answer.map(drop).map_err(|source| api_error("write the status of the Tenant", source))?;
    for transition in status::events(&previous, &current) {
        publish(tenant, transition.kind, transition.reason, transition.note, context).await;
    }
    context.remember(tenant, current);
    Ok(())
}

/// An event that cannot be written is no reason to fail.
async fn publish(tenant: &Tenant, type_: EventType, reason: String, note: String, context: &Context) {
    let mut note = note;
    // The most that the API server takes is 1024 bytes.
    note.truncate(note.floor_char_boundary(1000));
    let event = Event { type_, reason, note: Some(note), action: "Reconcile".into(), secondary: None };
    if let Err(error) = context.recorder.publish(&event, &tenant.object_ref(&())).await {
        tracing::warn!(tenant = tenant.name_any(), %error, "an event cannot be written");
    }
}

/// Of a Tenant that cannot be read.
pub(super) async fn report_unreadable(metadata: &ObjectMeta, error: &Error, context: &Context) {
    let mut tenant = Tenant::new(metadata.name.as_deref().unwrap_or_default(), TenantSpec::default());
    tenant.metadata = metadata.clone();
    let previous = context.status_of(&tenant);
    let outcome = Outcome {
        observed: &Observed::default(),
        valid: None,
        route_is_ready: false,
        is_settled: false,
        waits_for: None,
        waits_on: None,
        waits_for_turn: false,
        error: Some(error),
    };
    let current = status::report(&tenant, &previous, &outcome, now());
    if let Err(error) = write_status(&tenant, previous, current, context).await {
        tracing::warn!(tenant = tenant.name_any(), %error, "the status cannot be written");
    }
}

/// A Tenant for server-side apply: with the uid, so that one which has gone is not made anew.
fn manifest(metadata: &ObjectMeta, finalizers: &[&str], status: Option<&TenantStatus>) -> Value {
    let mut body = json!({
        "apiVersion": Tenant::api_version(&()),
        "kind": Tenant::kind(&()),
        "metadata": { "name": metadata.name, "uid": metadata.uid },
    });
    if !finalizers.is_empty() {
        body["metadata"]["finalizers"] = json!(finalizers);
    }
    if let Some(status) = status {
        // What is used is written by another manager, when it has changed.
        body["status"] = json!(TenantStatus { usage: None, ..status.clone() });
    }
    body
}

fn tenants(context: &Context) -> Api<Tenant> {
    Api::all(context.client.0.clone())
}

fn api_error(what: &str, source: kube::Error) -> Error {
    Error::Api { what: what.to_owned(), source: Box::new(source) }
}
