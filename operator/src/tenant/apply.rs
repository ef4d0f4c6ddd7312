//! Carries out the steps of a plan: the only module that writes a tenant's objects. What the API server answers goes
//! into the cache at once, so that the next plan is made from what is there now.

mod certificates;
mod signing;

use std::collections::BTreeMap;

use futures::{StreamExt, stream::FuturesUnordered};
use keystead_crds::FIELD_MANAGER;
use keystead_route::TenantName;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use serde_json::{Map, Value, json};

use super::{
    build::{Object, TENANT_ANNOTATION},
    credentials::{self, Contents, Needs, NoRandomness, Outside},
    names, now,
    rollout::Step,
    rotation::{self, CARRIED_OUT_ANNOTATION, Change, SINCE_ANNOTATION},
};
use crate::{
    cache::{Cache, Key, Seen},
    error::Error,
    kinds::Kind,
    metrics::Metrics,
};

/// What is needed to write.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    pub client: &'a ClientHandle,
    pub cache: &'a Cache,
    pub metrics: &'a Metrics,
    pub tenant: &'a TenantName,
}

/// A client that says nothing when it is printed.
#[derive(Clone)]
pub struct ClientHandle(pub Client);

impl std::fmt::Debug for ClientHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Client")
    }
}

impl Writer<'_> {
    /// Carries out all steps, side by side. Where some fail, the others are carried out all the same.
    pub async fn carry_out(&self, steps: Vec<Step>) -> Result<(), Error> {
        let mut running: FuturesUnordered<_> = steps.into_iter().map(|step| self.step(step)).collect();
        let mut failed = None;
        while let Some(outcome) = running.next().await {
            if let Err(error) = outcome {
                // What stalls is what a person has to know.
                if failed.as_ref().is_none_or(|former: &Error| !former.is_stalled()) {
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn step(&self, step: Step) -> Result<(), Error> {
        match step {
            Step::CreateNamespace(object) => self.create_namespace(object).await,
            Step::CreateCredentials { object, needs, outside } => {
                self.create_credentials(object, needs, &outside).await
            }
            Step::CompleteCredentials { key, needs, outside } => {
                self.complete_credentials(&key, needs, &outside).await
            }
            Step::Rotate { key, change, needs, outside, request } => {
                self.rotate(&key, change, needs, outside.as_ref(), request.as_deref()).await
            }
            Step::RotateSigning { key, change, signing, outside, request } => {
                self.rotate_signing(&key, change, signing, outside.as_ref(), request.as_deref()).await
            }
            Step::MakeAuthority { object, version } => self.make_authority(&object, version).await,
            Step::Certify { object, version, order } => self.certify(&object, version, &order).await,
            Step::Apply(object) => self.apply(&object).await,
            Step::Begin { object, before } => {
                if let Some(uid) = before {
                    self.delete(&object.key, &uid, Some(PropagationPolicy::Background)).await?;
                }
                self.apply(&object).await
            }
            Step::Scale { key, replicas, version } => self.scale(&key, replicas, version).await,
            Step::Grow { key, size } => {
                let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
                self.merge(&key, "grow", &patch).await.map_err(|error| match error {
                    Error::Refused { what, message } => Error::Refused {
                        what,
                        message: format!("{message}. Set allowVolumeExpansion: true in the StorageClass, if its volumes can grow"),
                    },
                    other => other,
                })
            }
            Step::Delete { key, uid, and_pods } => {
                let how = match key.kind {
                    _ if and_pods => Some(PropagationPolicy::Foreground),
                    // The API server would leave its pods.
                    Kind::Job => Some(PropagationPolicy::Background),
                    _ => None,
                };
                self.delete(&key, &uid, how).await
            }
            Step::Release { key, uid } => self.delete(&key, &uid, Some(PropagationPolicy::Orphan)).await,
        }
    }

    fn api(&self, key: &Key) -> Api<DynamicObject> {
        let resource = key.kind.resource();
        let client = self.client.0.clone();
        if key.namespace.is_empty() {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, &key.namespace, &resource)
        }
    }

    async fn apply(&self, object: &Object) -> Result<(), Error> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let answer =
            self.api(&object.key).patch(&object.key.name, &params, &Patch::Apply(&object.body)).await;
        self.took(&object.key, "apply", answer)
    }

    /// Never takes over a namespace that is somebody else's.
    async fn create_namespace(&self, object: Object) -> Result<(), Error> {
        match self.create(&object.key, &object.body).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let found = self.api(&object.key).get(&object.key.name).await;
                let found = found.map_err(|error| Error::api(&object.key, "get", error))?;
                let says = |map: &Option<BTreeMap<String, String>>, name: &str| {
                    map.as_ref().and_then(|it| it.get(name)).is_some_and(|it| it == self.tenant.as_str())
                };
                let is_ours = says(&found.metadata.annotations, TENANT_ANNOTATION)
                    || says(&found.metadata.labels, keystead_route::TENANT_LABEL);
                if is_ours {
                    self.apply(&object).await
                } else {
                    Err(Error::ForeignNamespace(object.key.name))
                }
            }
            answer => self.took(&object.key, "create", answer),
        }
    }

    /// Where there is such a Secret already (its labels were changed, so that it was not seen), only its labels are put
    /// back: the secrets in it are the tenant's.
    async fn create_credentials(&self, object: Object, needs: Needs, outside: &Outside) -> Result<(), Error> {
        let mut body = object.body.clone();
        let made = credentials::missing(self.tenant, &outside.0, needs)?;
        let contents = outside.beside(&made);
        body["data"] = credentials::data(&contents);
        match self.create(&object.key, &body).await {
            Err(kube::Error::Api(status)) if status.code == 409 => self.apply(&object).await,
            answer => self.took(&object.key, "create", answer),
        }
    }

    /// Looks for a namespace of the tenant that has lost the labels by which it is watched, and puts them back.
    pub async fn find_namespace(&self) -> Result<(), Error> {
        let name = names::namespace(self.tenant);
        let key = Key { kind: Kind::Namespace, namespace: String::new(), name };
        let found =
            self.api(&key).get_opt(&key.name).await.map_err(|error| Error::api(&key, "get", error))?;
        let annotations = found.and_then(|it| it.metadata.annotations).unwrap_or_default();
        if annotations.get(TENANT_ANNOTATION).is_none_or(|it| it != self.tenant.as_str()) {
            return Ok(());
        }
        self.merge(&key, "label", &json!({ "metadata": { "labels": names::labels(self.tenant, None) } }))
            .await
    }

    async fn complete_credentials(&self, key: &Key, needs: Needs, outside: &Outside) -> Result<(), Error> {
        let found = self.api(key).get(&key.name).await.map_err(|error| Error::api(key, "get", error))?;
        let contents = credentials::contents(found.data.get("data"));
        let given = outside.lacking(&contents);
        let present: Contents = contents.into_iter().chain(given.clone()).collect();
        let mut added = credentials::missing(self.tenant, &present, needs)?;
        added.extend(given);
        let patch = json!({
            // Not if somebody else has changed it in the meantime.
            "metadata": { "resourceVersion": found.metadata.resource_version },
            "data": credentials::data(&added),
        });
        self.merge(key, "complete", &patch).await
    }

    async fn rotate(
        &self,
        key: &Key,
        change: Change,
        needs: Needs,
        outside: Option<&Outside>,
        request: Option<&str>,
    ) -> Result<(), Error> {
        let annotations = match change {
            Change::Begin => json!({ CARRIED_OUT_ANNOTATION: request }),
            Change::Switch => json!({ SINCE_ANNOTATION: now().to_string() }),
            Change::End => json!({}),
        };
        let outside = outside.map(|it| &it.0);
        let fits = |contents: &Contents| rotation::fits(change, contents);
        let patch = |contents: &Contents| rotation::patch(change, self.tenant, contents, needs, outside);
        self.exchange(key, &annotations, fits, patch).await
    }

    /// Puts these into the Secret, and takes out those that are none, where the step still fits what it holds.
    async fn exchange(
        &self,
        key: &Key,
        annotations: &Value,
        fits: impl FnOnce(&Contents) -> bool,
        patch: impl FnOnce(&Contents) -> Result<BTreeMap<String, Option<String>>, NoRandomness>,
    ) -> Result<(), Error> {
        let found = self.api(key).get(&key.name).await.map_err(|error| Error::api(key, "get", error))?;
        let contents = credentials::contents(found.data.get("data"));
        if !fits(&contents) {
            // Another operator was faster: the next pass sees it.
            return Ok(());
        }
        let changed = patch(&contents)?;
        let encoded = |text: Option<String>| text.map_or(Value::Null, |text| credentials::encoded(&text));
        let data: Map<String, Value> =
            changed.into_iter().map(|(name, text)| (name, encoded(text))).collect();
        let patch = json!({
            // Not if somebody else has changed it in the meantime.
            "metadata": { "resourceVersion": found.metadata.resource_version, "annotations": annotations },
            "data": data,
        });
        self.merge(key, "rotate", &patch).await
    }

    /// By a manager of its own: otherwise the next apply, which says nothing of replicas, would take the number back.
    async fn scale(&self, key: &Key, replicas: i32, version: Option<String>) -> Result<(), Error> {
        let mut patch = json!({ "spec": { "replicas": replicas } });
        if let Some(version) = version {
            patch["metadata"] = json!({ "resourceVersion": version });
        }
        let patch = Patch::Merge(patch);
        let params =
            PatchParams { field_manager: Some(format!("{FIELD_MANAGER}-scale")), ..PatchParams::default() };
        let answer = self.api(key).patch(&key.name, &params, &patch).await;
        self.took(key, "scale", answer)
    }

    async fn delete(&self, key: &Key, uid: &str, how: Option<PropagationPolicy>) -> Result<(), Error> {
        let params = DeleteParams {
            propagation_policy: how,
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.api(key).delete(&key.name, &params).await {
            Ok(answer) => {
                // The object where it is still there, waiting for something; else it is gone. A Service is given all the same.
                let left = answer.left().filter(|it| it.metadata.deletion_timestamp.is_some());
                if let Some(object) = left {
                    return self.took(key, "delete", Ok(object));
                }
                self.metrics.wrote(key.kind, "delete");
                tracing::info!(tenant = %self.tenant, object = %key, "delete");
                self.forget(key, uid);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.forget(key, uid);
                Ok(())
            }
            Err(error) => Err(Error::api(key, "delete", error)),
        }
    }

    fn forget(&self, key: &Key, uid: &str) {
        let body = json!({ "metadata": { "uid": uid } });
        self.cache.remove(&Seen { key: key.clone(), body, applied_generation: None });
    }

    async fn create(&self, key: &Key, body: &Value) -> Result<DynamicObject, kube::Error> {
        let object: DynamicObject = serde_json::from_value(body.clone()).map_err(kube::Error::SerdeError)?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        self.api(key).create(&params, &object).await
    }

    async fn merge(&self, key: &Key, verb: &str, patch: &Value) -> Result<(), Error> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let answer = self.api(key).patch(&key.name, &params, &Patch::Merge(patch)).await;
        self.took(key, verb, answer)
    }

    /// Takes the API server's answer into the cache.
    fn took(&self, key: &Key, verb: &str, answer: Result<DynamicObject, kube::Error>) -> Result<(), Error> {
        let object = answer.map_err(|error| Error::api(key, verb, error))?;
        self.metrics.wrote(key.kind, verb);
        tracing::info!(tenant = %self.tenant, object = %key, "{verb}");
        if let Ok(body) = serde_json::to_value(&object)
            && let Some((tenant, mut seen)) = Seen::new(key.kind, body)
        {
            if matches!(key.kind, Kind::StatefulSet | Kind::Deployment) && verb == "apply" {
                seen.applied_generation = Some(seen.generation());
            }
            self.cache.insert_answer(tenant, seen);
        }
        Ok(())
    }
}
