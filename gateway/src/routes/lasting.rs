//! A caller whose answer goes on after it has begun: a watch, a stream.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    Gateway,
    auth::{Caller, Principal},
    problem::Problem,
    slot::Slot,
    tenants::Tenant,
};

/// Who gets the answer, and of whom.
pub(super) struct Lasting {
    gateway: Arc<Gateway>,
    tenant: Arc<Tenant>,
    principal: Principal,
    _place: Slot,
}

impl Lasting {
    /// Counts the client in, or refuses it.
    pub(super) fn begin(gateway: Arc<Gateway>, caller: &Caller) -> Result<Self, Problem> {
        let place = caller.tenant.watch()?;
        let (tenant, principal) = (caller.tenant.clone(), caller.principal.clone());
        Ok(Self { gateway, tenant, principal, _place: place })
    }

    /// As it is served now.
    pub(super) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Whether it may go on: the gateway stays, the tenant is served and has the same Redis, and the credential still counts.
    pub(super) async fn may_go_on(&mut self) -> bool {
        if self.gateway.draining.load(Ordering::Relaxed) {
            return false;
        }
        let Some(now) = self.gateway.table.get(self.tenant.name().as_str()) else { return false };
        if now.route().suspended || !now.route().redis.is_same_place(&self.tenant.route().redis) {
            return false;
        }
        let before = std::mem::replace(&mut self.tenant, now);
        let (auth, auth_before) = (&self.tenant.route().auth, &before.route().auth);
        match &self.principal {
            // Other keys may have taken its own away: who comes again is looked at anew.
            Principal::User(user) => !user.has_expired() && Arc::ptr_eq(&before.keys, &self.tenant.keys),
            Principal::External(user) => !user.has_expired() && self.tenant.trusts(&user.issuer),
            Principal::Admin => auth.admin_key_sha256 == auth_before.admin_key_sha256,
            // Where Redis is away nobody can tell, and nothing is told.
            Principal::ApiKey { key, .. } => {
                let found = self.tenant.api_keys().find(&key.id).await;
                found.is_err() || found.is_ok_and(|found| found.is_some_and(|found| found.still_is(key)))
            }
        }
    }
}
