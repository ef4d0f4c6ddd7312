//! `POST /auth/login`: tokens for a user name and a password.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::{Tokens, named_tenant};
use crate::{
    Gateway,
    auth::path_tenant,
    finish::Noted,
    problem::{Code, Problem},
    query::NoQuery,
    routes::body,
    sleep::Proof,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password: String,
    tenant: Option<String>,
}

#[utoipa::path(
    post,
    path = "/auth/login",
    tag = "auth",
    operation_id = "login",
    summary = "Log in",
    request_body(content = crate::routes::schemas::Credentials),
    responses(
        (status = 200, description = "Tokens", body = crate::routes::schemas::Tokens),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(()),
)]
pub(crate) async fn login(
    State(gateway): State<Arc<Gateway>>,
    _: NoQuery,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let path = path_tenant(&parts);
    let login: Login = body::json(&parts.headers, content).await?;
    let tenant = named_tenant(&gateway, path, login.tenant.as_deref())?;
    let _in_flight = tenant.enter(&parts.extensions)?;
    let address = gateway.addresses.of(&parts);
    let checked = gateway.addresses.check(address);
    if checked.is_err() {
        Noted::set_attempt(&parts.extensions, &tenant, None);
    }
    checked?;
    let tenant = gateway.awake(tenant, Proof::Owed).await?;
    Noted::set_attempt(&parts.extensions, &tenant, None);
    // Before Redis keeps anything of the name.
    let place = tenant.password()?;
    if let Some(wait) = tenant.accounts().begin_login(&login.username).await? {
        let seconds = wait.as_secs() + 1;
        let detail = format!("too many attempts to log in as this user: wait {seconds} s");
        return Err(Problem::new(Code::TooManyAttempts, detail).retry_after(seconds));
    }
    let account = tenant.accounts().find(&login.username).await?;
    let name = account.as_ref().map(|account| account.username.as_str());
    Noted::set_attempt(&parts.extensions, &tenant, name);
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let right = gateway.passwords.verify(login.password, hash, place).await?;
    let Some(account) = account.filter(|account| right && account.is_active) else {
        gateway.addresses.failed(address);
        return Err(Problem::new(
            Code::WrongCredentials,
            "no active account has this user name and password",
        ));
    };
    tenant.accounts().end_login(&account.username).await?;
    Ok(Tokens::issue(&tenant, &account).await?.into_response())
}
