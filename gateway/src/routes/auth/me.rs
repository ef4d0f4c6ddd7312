//! `GET /auth/me`: the account behind the token, as it is now.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use crate::{
    auth::{Caller, Principal},
    problem::{Code, Problem},
};

#[utoipa::path(
    get,
    path = "/auth/me",
    tag = "auth",
    operation_id = "me",
    summary = "Who calls",
    responses(
        (status = 200, description = "The account", body = crate::routes::schemas::Account),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = []), ("api_key" = [])),
)]
pub(crate) async fn me(caller: Caller) -> Result<Response, Problem> {
    let scopes = caller.principal.scopes().words();
    let tenant = caller.tenant.name();
    let account = match &caller.principal {
        Principal::User(user) => {
            let account = caller.tenant.accounts().find(&user.name).await?;
            let account = account.ok_or_else(|| Problem::new(Code::InvalidToken, "the account is gone"))?;
            json!({
                "username": account.username,
                "email": account.email,
                "tenant_id": tenant,
                "is_active": account.is_active,
                "scopes": scopes,
            })
        }
        // As the token says: there is no account here.
        Principal::External(user) => json!({
            "username": user.subject,
            "email": user.email,
            "tenant_id": tenant,
            "is_active": true,
            "scopes": scopes,
            "issuer": user.issuer,
        }),
        // An API key is nobody's account; it would not have come here were it not active.
        Principal::ApiKey { .. } | Principal::Admin => json!({
            "username": caller.principal.name(),
            "email": null,
            "tenant_id": tenant,
            "is_active": true,
            "scopes": scopes,
        }),
    };
    Ok(Json(account).into_response())
}
