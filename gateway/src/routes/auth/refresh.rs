//! `POST /auth/refresh` and `/auth/logout`: a refresh token is spent for its successor, or its family is ended.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use keystead_kv::accounts::{Rotated, tenant_of_refresh};
use serde::Deserialize;

use super::{Tokens, refresh_life};
use crate::{
    Gateway,
    auth::{Caller, mint, path_tenant},
    problem::{Code, Problem},
    routes::body,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

pub(crate) async fn refresh(
    State(gateway): State<Arc<Gateway>>,
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
    let accounts = tenant.accounts();
    match accounts.rotate_refresh(&name, &token, refresh_life(&tenant)).await? {
        Rotated::Done { username, successor } => {
            // What the account may do now counts, not what it could when it logged in.
            let account =
                accounts.find(&username).await?.filter(|account| account.is_active).ok_or_else(invalid)?;
            let access_token = mint(&tenant, &account.username, &account.scopes)?;
            Ok(Tokens::new(&tenant, access_token, successor.expose()).into_response())
        }
        Rotated::Reused => {
            tracing::warn!(tenant = %name, "a spent refresh token was used again: its family is revoked");
            Err(invalid())
        }
        Rotated::Unknown => Err(invalid()),
    }
}

/// Ends the family of the refresh token in the body. An access token lives on until it expires.
pub(crate) async fn logout(caller: Caller, request: Request) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let token = body::json::<Refresh>(&parts.headers, content).await?.refresh_token;
    if tenant_of_refresh(&token).as_ref() == Some(caller.tenant.name()) {
        caller.tenant.accounts().revoke_refresh(&token).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
