//! The caller of a request, taken from its head before the body is read.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};

use super::{Claims, Scope};
use crate::{
    Gateway,
    problem::{Code, Problem},
    tenants::{InFlight, Tenant},
};

/// An authenticated caller; the tenant's request is counted while this lives.
pub(crate) struct Caller {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) claims: Arc<Claims>,
    _in_flight: InFlight,
}

impl Caller {
    pub(crate) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.claims.allows(scope) {
            Ok(())
        } else {
            Err(Problem::new(Code::MissingScope, format!("the token needs the scope {}", scope.word())))
        }
    }
}

impl FromRequestParts<Arc<Gateway>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let token = bearer(parts)?;
        let (tenant, claims) = gateway.tokens.verify(&gateway.table, token)?;
        if let Some(named) = path_tenant(parts)
            && named != tenant.name().as_str()
        {
            return Err(Problem::new(Code::WrongTenant, "the path names another tenant than the token"));
        }
        let in_flight = tenant.enter(&parts.extensions)?;
        Ok(Self { tenant, claims, _in_flight: in_flight })
    }
}

/// The tenant of a path that begins with `/t/<tenant>/`. Names have nothing to percent-encode.
pub(crate) fn path_tenant(parts: &Parts) -> Option<&str> {
    parts.uri.path().strip_prefix("/t/")?.split('/').next()
}

fn bearer(parts: &Parts) -> Result<&str, Problem> {
    let missing =
        || Problem::new(Code::MissingToken, "send the header `Authorization: Bearer <access token>`");
    let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}
