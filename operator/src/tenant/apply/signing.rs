//! Takes a rotation of the signing key one step further.

use keystead_route::Algorithm;

use super::Writer;
use crate::{
    cache::Key,
    error::Error,
    tenant::{
        credentials::{
            self, Outside,
            signing::{Place, name},
        },
        now,
        rotation::signing::{self, Change},
    },
};

impl Writer<'_> {
    pub(super) async fn rotate_signing(
        &self,
        key: &Key,
        change: Change,
        algorithm: Algorithm,
        outside: Option<&Outside>,
        request: Option<&str>,
    ) -> Result<(), Error> {
        let found = self.api(key).get(&key.name).await.map_err(|error| Error::api(key, "get", error))?;
        let contents = credentials::contents(found.data.get("data"));
        if !signing::fits(change, &contents) {
            // Another operator was faster: the next pass sees it.
            return Ok(());
        }
        let kept = outside.and_then(|it| it.0.get(name(algorithm, Place::Active))).map(String::as_str);
        let changed = signing::patch(change, self.tenant, &contents, algorithm, kept)?;
        self.exchange(key, &found, changed, &signing::annotations(change, request, now())).await
    }
}
