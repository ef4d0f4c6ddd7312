//! `POST /auth/refresh` and `/auth/logout`: a refresh token is spent for its successor, or its family is ended.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use keystead_kv::accounts::{Rotated, family_of_refresh, tenant_of_refresh};
use serde::Deserialize;

use super::{Tokens, access_token, refresh_life};
use crate::{
    Gateway,
    auth::{Caller, Principal, path_tenant},
    finish::Noted,
    problem::{Code, Problem},
    query::NoQuery,
    routes::body,
    sleep::Proof,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

#[utoipa::path(
    post,
    path = "/auth/refresh",
    tag = "auth",
    operation_id = "refresh",
    summary = "Spend a refresh token for new tokens",
    request_body(content = crate::routes::schemas::Refresh),
    responses(
        (status = 200, description = "Tokens; the refresh token that was sent is spent", body = crate::routes::schemas::Tokens),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(()),
)]
pub(crate) async fn refresh(
    State(gateway): State<Arc<Gateway>>,
    _: NoQuery,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let path = path_tenant(&parts);
    let token = body::json::<Refresh>(&parts.headers, content).await?.refresh_token;
    let invalid =
        || Problem::new(Code::InvalidToken, "the refresh token is expired, spent or unknown: log in again");
    let name = tenant_of_refresh(&token).ok_or_else(invalid)?;
    if path.is_some_and(|path| path != name.as_str()) {
        return Err(Problem::new(Code::WrongTenant, "the path names another tenant than the refresh token"));
    }
    let tenant = gateway.table.get(name.as_str()).ok_or_else(invalid)?;
    let _in_flight = tenant.enter(&parts.extensions)?;
    let tenant = gateway.awake(tenant, Proof::Owed).await?;
    Noted::set_attempt(&parts.extensions, &tenant, None);
    let accounts = tenant.accounts();
    match accounts.rotate_refresh(&name, &token, refresh_life(&tenant)).await? {
        Rotated::Done { username, successor } => {
            Noted::set_attempt(&parts.extensions, &tenant, Some(&username));
            // What the account may do now counts, not what it could when it logged in.
            let account =
                accounts.find(&username).await?.filter(|account| account.is_active).ok_or_else(invalid)?;
            tenant.touch();
            let access_token = access_token(&tenant, &account, successor.expose())?;
            Ok(Tokens::new(&tenant, access_token, successor.expose()).into_response())
        }
        Rotated::Reused => {
            tracing::warn!(tenant = %name, "a spent refresh token was used again: its family is revoked");
            Err(invalid())
        }
        Rotated::Unknown => Err(invalid()),
    }
}

/// Ends the session of the access token, and that of a refresh token in the body: no further tokens come of them. An access
/// token lives on until it expires.
#[utoipa::path(
    post,
    path = "/auth/logout",
    tag = "auth",
    operation_id = "logout",
    summary = "End the session",
    request_body(content = Option<crate::routes::schemas::Refresh>),
    responses(
        (status = 204, description = "Ended: no further tokens come of it"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = []), ("api_key" = [])),
)]
pub(crate) async fn logout(caller: Caller, request: Request) -> Result<Response, Problem> {
    if matches!(caller.principal, Principal::External(_)) {
        return Err(Problem::new(
            Code::Invalid,
            "the token is of another issuer, which has its sessions: log out there",
        ));
    }
    let (parts, content) = request.into_parts();
    let bytes = body::read(&parts.headers, content, body::SMALL).await?;
    let accounts = caller.tenant.accounts();
    if let Some(Refresh { refresh_token: token }) = body::parse_optional(&parts.headers, &bytes)?
        && tenant_of_refresh(&token).as_ref() == Some(caller.tenant.name())
        && let Some(family) = family_of_refresh(&token)
    {
        accounts.revoke_family(family).await?;
    }
    if let Principal::User(user) = &caller.principal
        && let Some(family) = &user.session
    {
        accounts.revoke_family(family).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
