//! Issuers other than the tenants themselves, and their keys: one cache for each, for all tenants that trust it.

mod fetch;
mod jwk;
mod source;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use keystead_route::Issuer;

use fetch::Fetcher;
pub use fetch::InvalidRoots;
pub(crate) use jwk::KeySet;
pub(crate) use source::Source;

/// All issuers that some tenant trusts. Asked when routes change, never by a request.
pub(crate) struct Issuers {
    fetcher: Arc<Fetcher>,
    refresh: Duration,
    sources: Mutex<HashMap<String, Weak<Source>>>,
}

/// An issuer that a tenant trusts, and what for.
pub(crate) struct Trusted {
    pub(crate) issuer: Issuer,
    pub(crate) source: Arc<Source>,
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Issuers").field("refresh", &self.refresh).finish_non_exhaustive()
    }
}

impl Issuers {
    /// With further authorities, and after how long keys in use are fetched anew.
    pub(crate) fn new(more_roots: Option<&Path>, refresh: Duration) -> Result<Self, InvalidRoots> {
        Ok(Self { fetcher: Arc::new(Fetcher::new(more_roots)?), refresh, sources: Mutex::default() })
    }

    pub(crate) fn trusted(&self, issuers: &[Issuer]) -> Arc<Vec<Trusted>> {
        let trusted =
            |issuer: &Issuer| Trusted { issuer: issuer.clone(), source: self.source(&issuer.issuer) };
        Arc::new(issuers.iter().map(trusted).collect())
    }

    fn source(&self, issuer: &str) -> Arc<Source> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get(issuer).and_then(Weak::upgrade) {
            return known;
        }
        sources.retain(|_, source| source.strong_count() > 0);
        let source = Arc::new(Source::new(issuer, self.fetcher.clone(), self.refresh));
        sources.insert(issuer.to_owned(), Arc::downgrade(&source));
        source
    }
}
