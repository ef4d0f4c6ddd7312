//! `POST /auth/register` that names no tenant: a tenant of one's own, with its owner's account.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use keystead_route::TenantName;
use serde_json::json;

use super::{Tokens, register::Registration};
use crate::{
    Gateway,
    auth::{Scope, check_password},
    problem::{Code, Problem},
    sign_up::Asked,
};

/// After how many seconds the tenant may be ready that was not in time.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

pub(super) async fn sign_up(
    gateway: &Gateway,
    parts: &Parts,
    registration: Registration,
) -> Result<Response, Problem> {
    let Some(sign_ups) = &gateway.sign_ups else {
        return Err(Problem::new(
            Code::Invalid,
            "no tenant is named: send the field `tenant` or use /t/<tenant>/api/v1; this installation makes no new tenants",
        ));
    };
    if registration.scopes.is_some() {
        return Err(Problem::new(
            Code::Invalid,
            "scopes: who registers a tenant of their own has all of them",
        ));
    }
    registration.check_names()?;
    let _place = sign_ups.enter()?;
    check_password(&registration.password)?;
    gateway.addresses.sign_up(gateway.addresses.of(parts))?;
    let scopes = Scope::ALL.map(|scope| scope.word().to_owned()).to_vec();
    let account = registration.into_account(gateway, scopes, None).await?;
    match sign_ups.ask(gateway, &account).await? {
        Asked::Ready(tenant) => match Tokens::issue(&tenant, &account).await {
            Ok(tokens) => Ok((StatusCode::CREATED, tokens).into_response()),
            // The name must be told in any case: nobody else will.
            Err(_) => Ok(provisioning(tenant.name())),
        },
        Asked::Provisioning(name) => Ok(provisioning(&name)),
    }
}

/// The account will be there as soon as the tenant is; then its owner logs in.
fn provisioning(name: &TenantName) -> Response {
    let body = Json(json!({"tenant_id": name, "status": "provisioning"}));
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    if let Ok(location) = format!("/t/{name}/api/v1/auth/login").parse() {
        headers.insert(header::LOCATION, location);
    }
    response
}
