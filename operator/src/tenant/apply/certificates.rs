//! Puts certificates, and who signs them, into their Secrets.

use serde_json::{Map, Value, json};

use super::Writer;
use crate::{
    error::Error,
    tenant::{
        build::Object,
        certificates::{CHANGED_ANNOTATION, Order, make_authority},
        credentials::{self, Contents},
        now,
    },
};

impl Writer<'_> {
    pub(super) async fn make_authority(&self, object: &Object, version: Option<String>) -> Result<(), Error> {
        let contents = make_authority(self.tenant, now())?;
        self.put(object, version, &contents, Map::new()).await
    }

    pub(super) async fn certify(
        &self,
        object: &Object,
        version: Option<String>,
        order: &Order,
    ) -> Result<(), Error> {
        let contents = order.carry_out(now())?;
        let changed = [(CHANGED_ANNOTATION.to_owned(), json!(now().to_string()))].into_iter().collect();
        tracing::info!(tenant = %self.tenant, "certificates: {order:?}");
        self.put(object, version, &contents, changed).await
    }

    /// Changes the Secret that was seen, or makes it where there was none: never one that somebody else has changed since.
    async fn put(
        &self,
        object: &Object,
        version: Option<String>,
        contents: &Contents,
        annotations: Map<String, Value>,
    ) -> Result<(), Error> {
        let Some(version) = version else {
            let mut body = object.body.clone();
            body["data"] = credentials::data(contents);
            for (name, text) in annotations {
                body["metadata"]["annotations"][name] = text;
            }
            return match self.create(&object.key, &body).await {
                // Its labels were changed, so that it was not seen.
                Err(kube::Error::Api(status)) if status.code == 409 => self.apply(object).await,
                answer => self.took(&object.key, "create", answer),
            };
        };
        let patch = json!({
            "metadata": { "resourceVersion": version, "annotations": annotations },
            "data": credentials::data(contents),
        });
        self.merge(&object.key, "certify", &patch).await
    }
}
