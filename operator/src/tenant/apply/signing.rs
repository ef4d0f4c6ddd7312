//! Takes a rotation of the signing key one step further.

use keystead_route::Algorithm;

use super::Writer;
use crate::{
    cache::Key,
    error::Error,
    tenant::{
        credentials::{
            Contents, Outside,
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
        let annotations = signing::annotations(change, request, now());
        let kept = outside.and_then(|it| it.0.get(name(algorithm, Place::Active))).map(String::as_str);
        let fits = |contents: &Contents| signing::fits(change, contents);
        let patch = |contents: &Contents| signing::patch(change, self.tenant, contents, algorithm, kept);
        self.exchange(key, &annotations, fits, patch).await
    }
}
