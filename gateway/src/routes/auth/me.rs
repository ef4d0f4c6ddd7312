//! `GET /auth/me`: the account behind the token, as it is now.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use crate::{
    auth::Caller,
    problem::{Code, Problem},
};

pub(crate) async fn me(caller: Caller) -> Result<Response, Problem> {
    let account = caller.tenant.accounts().find(&caller.claims.sub).await?;
    let account = account.ok_or_else(|| Problem::new(Code::InvalidToken, "the account is gone"))?;
    Ok(Json(json!({
        "username": account.username,
        "email": account.email,
        "tenant_id": caller.tenant.name(),
        "is_active": account.is_active,
        "scopes": caller.claims.scope.split(' ').collect::<Vec<_>>(),
    }))
    .into_response())
}
