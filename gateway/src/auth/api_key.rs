//! API keys: found in the tenant's Redis or, for the owner's, by the hash in the route.

use std::{num::NonZeroU32, sync::Arc};

use keystead_kv::api_keys::ApiKey;
use keystead_route::{ADMIN_KEY_ID, ApiKeyText};
use quick_cache::sync::Cache;

use super::{Principal, Scopes};
use crate::{
    Gateway,
    problem::{Code, Problem},
    sleep::Proof,
    tenants::{Limiter, Tenant},
};

/// Rates that are remembered: of the keys that were used last.
const REMEMBERED_RATES: usize = 20_000;

/// The rates of API keys. Kept apart from the keys, so that a key that is read again does not begin with a full bucket.
pub(crate) struct KeyRates(Cache<String, Arc<Limiter>>);

impl std::fmt::Debug for KeyRates {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("KeyRates").field(&self.0.len()).finish()
    }
}

impl KeyRates {
    pub(crate) fn new() -> Self {
        Self(Cache::new(REMEMBERED_RATES))
    }

    /// None where the key has no rate.
    pub(crate) fn of(&self, tenant: &Tenant, principal: &Principal) -> Option<Arc<Limiter>> {
        let Principal::ApiKey { key, .. } = principal else { return None };
        let per_second = NonZeroU32::new(key.requests_per_second?)?;
        let name = format!("{}/{}", tenant.name(), key.id);
        if let Some(known) = self.0.get(&name)
            && known.per_second() == per_second
        {
            return Some(known);
        }
        let limiter = Arc::new(Limiter::new("api-key", per_second, per_second));
        self.0.insert(name, limiter.clone());
        Some(limiter)
    }
}

/// Who has this key. An unknown id, a wrong secret and an expired key are told apart by nobody. `wakes`: a tenant that sleeps
/// is woken, and given as it is then.
pub(super) async fn authenticate(
    gateway: &Gateway,
    tenant: Arc<Tenant>,
    text: &ApiKeyText<'_>,
    wakes: bool,
) -> Result<(Arc<Tenant>, Principal), Problem> {
    if text.id == ADMIN_KEY_ID {
        let known = tenant.route().auth.admin_key_sha256.as_deref();
        if !known.is_some_and(|known| text.has_hash(known)) {
            return Err(invalid());
        }
        let tenant = if wakes { gateway.awake(tenant, Proof::Shown).await? } else { tenant };
        return Ok((tenant, Principal::Admin));
    }
    if !tenant.is_asleep() {
        let key = find(gateway, &tenant, text).await?;
        return Ok((tenant, key));
    }
    let known = gateway.sleepers.known(&tenant, text);
    if wakes {
        let proof = if known.is_some() { Proof::Shown } else { Proof::Owed };
        let tenant = gateway.awake(tenant, proof).await?;
        let key = find(gateway, &tenant, text).await?;
        return Ok((tenant, key));
    }
    let detail = "the tenant sleeps, and this API key is checked by its Redis: any other request wakes it";
    let known = known.ok_or_else(|| Problem::new(Code::TenantWaking, detail))?;
    Ok((tenant, principal(known)))
}

/// As the tenant's Redis says.
async fn find(gateway: &Gateway, tenant: &Tenant, text: &ApiKeyText<'_>) -> Result<Principal, Problem> {
    let key = tenant.api_keys().find(text.id).await?.filter(|key| key.accepts(text));
    let key: Arc<ApiKey> = key.ok_or_else(invalid)?;
    gateway.sleepers.remember(tenant, &key);
    Ok(principal(key))
}

fn principal(key: Arc<ApiKey>) -> Principal {
    let scopes = Scopes::of(key.scopes.iter().map(String::as_str));
    Principal::ApiKey { key, scopes }
}

pub(super) fn invalid() -> Problem {
    Problem::new(Code::InvalidToken, "the API key is unknown, expired or revoked")
}
