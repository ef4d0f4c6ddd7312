//! `POST /auth/register`: an account, where the tenant lets people make their own.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use keystead_kv::accounts::{Account, Created};
use keystead_route::SignUp;
use serde::Deserialize;

use super::{Tokens, named_tenant};
use crate::{
    Gateway,
    auth::{Scope, path_tenant},
    problem::{Code, Problem},
    routes::body,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    username: String,
    email: String,
    password: String,
    tenant: Option<String>,
}

pub(crate) async fn register(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let path = path_tenant(&parts);
    let registration: Registration = body::json(&parts.headers, content).await?;
    let tenant = named_tenant(&gateway, path, registration.tenant.as_deref())?;
    let _in_flight = tenant.enter(&parts.extensions)?;
    if tenant.route().auth.sign_up != SignUp::Open {
        return Err(Problem::new(
            Code::SignUpClosed,
            "the tenant's spec.auth.signUp is Closed: ask its owner",
        ));
    }
    check_username(&registration.username)?;
    check_email(&registration.email)?;
    let account = Account {
        username: registration.username,
        email: registration.email,
        password_hash: gateway.passwords.hash(registration.password).await?,
        scopes: Scope::ALL.iter().map(|scope| scope.word().to_owned()).collect(),
        is_active: true,
    };
    let taken = |what| Err(Problem::new(Code::AccountExists, format!("the {what} is taken")));
    match tenant.accounts().create(&account).await? {
        Created::UsernameTaken => return taken("user name"),
        Created::EmailTaken => return taken("e-mail address"),
        Created::Done => {}
    }
    let tokens = Tokens::issue(&tenant, &account).await?;
    Ok((StatusCode::CREATED, tokens).into_response())
}

fn check_username(username: &str) -> Result<(), Problem> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    if (1..=64).contains(&username.len()) && username.bytes().all(allowed) {
        Ok(())
    } else {
        Err(Problem::new(Code::Invalid, "username: 1 to 64 letters, digits, '.', '_', '@' and '-'"))
    }
}

/// Only what every address has: whether it exists, only a message to it can tell.
fn check_email(email: &str) -> Result<(), Problem> {
    let right = email.len() <= 254
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if right {
        Ok(())
    } else {
        Err(Problem::new(Code::Invalid, "email: an address such as name@example.com"))
    }
}
