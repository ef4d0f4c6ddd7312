//! The caller of a request, taken from its head before the body is read.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use keystead_route::ApiKeyText;

use super::{Principal, Scope, api_key};
use crate::{
    Gateway,
    audit::Touched,
    finish::Noted,
    problem::{Code, Problem},
    query::NoQuery,
    sleep::Proof,
    slot::Slot,
    tenants::Tenant,
};

/// How many milliseconds a request waits that is refused for its rate, counted as under way meanwhile. Not all equally long:
/// who was refused together would come back together, and crowd out others for that moment.
const REFUSED_AFTER: RangeInclusive<u64> = 25..=75;
const BEARER: &[u8] = b"Bearer ";
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// An authenticated caller of a route without a query; the tenant's request is counted while this lives.
pub(crate) struct Caller {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) principal: Principal,
    _in_flight: Slot,
    /// Where the tenant has an audit log.
    noted: Option<Noted>,
}

impl Caller {
    /// Says for the audit log what the request is about, where its path does not.
    pub(crate) fn touches(&self, touched: impl FnOnce() -> Touched) {
        if let Some(noted) = &self.noted {
            noted.set_touched(touched());
        }
    }

    pub(crate) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        self.principal.needs(scope)
    }
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let Asking(caller) = Asking::from_request_parts(parts, gateway).await?;
        NoQuery::of(&parts.uri)?;
        Ok(caller)
    }
}

/// A caller of a route that takes a query, and refuses what it does not know of it.
pub(crate) struct Asking(pub(crate) Caller);

impl FromRequestParts<Arc<Gateway>> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let caller = Caller::of(parts, gateway, true).await?;
        caller.tenant.touch();
        Ok(Self(caller))
    }
}

/// A caller who only looks on: a tenant that sleeps sleeps on, and this is no use of it.
pub(crate) struct Onlooker(pub(crate) Caller);

impl FromRequestParts<Arc<Gateway>> for Onlooker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        Caller::of(parts, gateway, false).await.map(Self)
    }
}

impl Caller {
    /// `wakes`: a tenant that sleeps is woken and waited for.
    async fn of(parts: &mut Parts, gateway: &Arc<Gateway>, wakes: bool) -> Result<Self, Problem> {
        let credential = Credential::of(&parts.headers)?.ok_or_else(missing)?;
        let (tenant, principal, in_flight) = match credential {
            Credential::Token(token) => {
                let named = path_tenant(parts);
                let (tenant, principal) = gateway.tokens.verify(&gateway.table, token, named).await?;
                of_path(parts, &tenant)?;
                let failed = |_: &Problem| Noted::set_failures(&parts.extensions, &tenant.failures);
                let in_flight = tenant.hold().inspect_err(failed)?;
                if tenant.is_asleep() {
                    Noted::set_failures(&parts.extensions, &tenant.failures);
                }
                let tenant = if wakes { gateway.awake(tenant, Proof::Shown).await? } else { tenant };
                (tenant, principal, in_flight)
            }
            Credential::ApiKey(text) => {
                let tenant = gateway.table.get(text.tenant).ok_or_else(api_key::invalid)?;
                of_path(parts, &tenant)?;
                Noted::set_failures(&parts.extensions, &tenant.failures);
                // Before Redis is asked. The tenant's rate is not touched by who only pretends to have a key.
                let in_flight = tenant.hold()?;
                let (tenant, principal) = api_key::authenticate(gateway, tenant, &text, wakes).await?;
                (tenant, principal, in_flight)
            }
        };
        let noted = parts.extensions.get::<Noted>();
        if let Some(noted) = noted {
            noted.set_caller(&tenant, &principal);
        }
        let noted = noted.filter(|_| tenant.trail().is_some()).cloned();
        if let Some(noted) = &noted {
            noted.set_touched(Touched::of_path(parts).await);
        }
        let detail = "this API key's requests_per_second is exceeded: slow down";
        let key_rate = gateway.key_rates.of(&tenant, &principal);
        let counted = key_rate.map_or(Ok(()), |rate| rate.count(&parts.extensions, detail));
        if let Err(problem) = counted.and_then(|()| tenant.count(&principal, &parts.extensions)) {
            // Who asks again at once would be told so tens of thousands of times a second, at the cost of everybody.
            if tenant.may_keep_waiting() {
                tokio::time::sleep(Duration::from_millis(rand::random_range(REFUSED_AFTER))).await;
            }
            return Err(problem);
        }
        Ok(Self { tenant, principal, _in_flight: in_flight, noted })
    }
}

/// What a request shows, unproven.
enum Credential<'a> {
    Token(&'a [u8]),
    ApiKey(ApiKeyText<'a>),
}

impl<'a> Credential<'a> {
    /// The header `Authorization` goes before `X-API-Key`; none where neither is there.
    fn of(headers: &'a HeaderMap) -> Result<Option<Self>, Problem> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            // Bytes, not text: to look at each of a long token for each request would cost more than to find it.
            let (scheme, rest) = value.as_bytes().split_at_checked(BEARER.len()).ok_or_else(missing)?;
            if !scheme.eq_ignore_ascii_case(BEARER) {
                return Err(missing());
            }
            let bytes = rest.trim_ascii();
            let key = bytes.starts_with(b"ks_").then(|| str::from_utf8(bytes).ok()).flatten();
            return Ok(Some(key.and_then(ApiKeyText::parse).map_or(Self::Token(bytes), Self::ApiKey)));
        }
        let Some(value) = headers.get(API_KEY) else { return Ok(None) };
        let text = value.to_str().map_err(|_| api_key::invalid())?.trim();
        ApiKeyText::parse(text).map(Self::ApiKey).map(Some).ok_or_else(api_key::invalid)
    }
}

/// Whether a request shows a credential at all.
pub(crate) fn has_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key(API_KEY)
}

fn missing() -> Problem {
    Problem::new(
        Code::MissingToken,
        "send the header `Authorization: Bearer <access token>` or `X-API-Key: <API key>`",
    )
}

fn of_path(parts: &Parts, tenant: &Tenant) -> Result<(), Problem> {
    if path_tenant(parts).is_some_and(|named| named != tenant.name().as_str()) {
        return Err(Problem::new(Code::WrongTenant, "the path names another tenant than the credential"));
    }
    Ok(())
}

/// The tenant of a path that begins with `/t/<tenant>/`. Names have nothing to percent-encode.
pub(crate) fn path_tenant(parts: &Parts) -> Option<&str> {
    parts.uri.path().strip_prefix("/t/")?.split('/').next()
}
