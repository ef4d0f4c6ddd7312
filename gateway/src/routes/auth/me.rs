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
    let Principal::User(user) = &caller.principal else {
        // An API key is nobody's account; it would not have come here were it not active.
        return Ok(Json(json!({
            "username": caller.principal.name(),
            "email": null,
            "tenant_id": caller.tenant.name(),
            "is_active": true,
            "scopes": scopes,
        }))
        .into_response());
    };
    let account = caller.tenant.accounts().find(&user.name).await?;
    let account = account.ok_or_else(|| Problem::new(Code::InvalidToken, "the account is gone"))?;
    Ok(Json(json!({
        "username": account.username,
        "email": account.email,
        "tenant_id": caller.tenant.name(),
        "is_active": account.is_active,
        "scopes": scopes,
    }))
    .into_response())
}
