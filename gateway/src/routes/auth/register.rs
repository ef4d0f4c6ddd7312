//! `POST /auth/register`: an account, where the tenant lets people make their own; without a tenant see `sign_up`.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use keystead_kv::accounts::{Account, Created};
use keystead_route::SignUp;
use serde::Deserialize;

use super::{Tokens, check_scopes, named_tenant, sign_up::sign_up};
use crate::{
    Gateway,
    audit::Touched,
    auth::{Caller, Scope, has_credential, path_tenant},
    finish::Noted,
    problem::{Code, Problem},
    query::NoQuery,
    routes::body,
    sleep::Proof,
    slot::Slot,
    tenants::Tenant,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    username: String,
    email: String,
    pub(super) password: String,
    tenant: Option<String>,
    /// Only an admin may say.
    pub(super) scopes: Option<Vec<String>>,
}

impl Registration {
    pub(super) fn check_names(&self) -> Result<(), Problem> {
        check_username(&self.username)?;
        check_email(&self.email)
    }

    /// The account with these scopes; its password is hashed.
    pub(super) async fn into_account(
        self,
        gateway: &Gateway,
        scopes: Vec<String>,
        place: Option<Slot>,
    ) -> Result<Account, Problem> {
        let password_hash = gateway.passwords.hash(self.password, place).await?;
        Ok(Account { username: self.username, email: self.email, password_hash, scopes, is_active: true })
    }
}

#[utoipa::path(
    post,
    path = "/auth/register",
    tag = "auth",
    operation_id = "register",
    summary = "Make an account",
    request_body(content = crate::routes::schemas::Registration),
    responses(
        (status = 201, description = "Made; with a tenant of one's own where none is named and the installation makes them",
            body = crate::routes::schemas::Tokens),
        (status = 202, description = "A tenant of one's own is being made: log in at `Location` as soon as it is there",
            body = crate::routes::schemas::Provisioning),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(()),
)]
pub(crate) async fn register(
    State(gateway): State<Arc<Gateway>>,
    _: NoQuery,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, content) = request.into_parts();
    // Who shows a credential acts with it; nobody needs one where sign-up is open.
    let caller = if has_credential(&parts.headers) {
        Some(Caller::from_request_parts(&mut parts, &gateway).await?)
    } else {
        None
    };
    let mut registration: Registration = body::json(&parts.headers, content).await?;
    if caller.is_none() && path_tenant(&parts).is_none() && registration.tenant.is_none() {
        return sign_up(&gateway, &parts, registration).await;
    }
    let tenant = match &caller {
        Some(caller) => of_caller(caller, registration.tenant.as_deref())?,
        None => named_tenant(&gateway, path_tenant(&parts), registration.tenant.as_deref())?,
    };
    // A caller is counted already.
    let _in_flight = if caller.is_none() { Some(tenant.enter(&parts.extensions)?) } else { None };
    Noted::set_attempt(&parts.extensions, &tenant, None);
    let by_admin = caller.as_ref().is_some_and(|caller| caller.needs(Scope::Admin).is_ok());
    if tenant.route().auth.sign_up != SignUp::Open && !by_admin {
        return Err(Problem::new(
            Code::SignUpClosed,
            "the tenant's spec.auth.signUp is Closed: an admin of the tenant makes accounts",
        ));
    }
    let scopes = scopes(registration.scopes.take(), by_admin)?;
    registration.check_names()?;
    // A caller has waited for that already.
    let tenant = gateway.awake(tenant, Proof::Owed).await?;
    Noted::set_attempt(&parts.extensions, &tenant, Some(&registration.username));
    if let Some(caller) = &caller {
        caller.touches(|| Touched::target(&registration.username));
    }
    let place = tenant.password()?;
    let account = registration.into_account(&gateway, scopes, Some(place)).await?;
    let taken = |what| Err(Problem::new(Code::AccountExists, format!("the {what} is taken")));
    match tenant.accounts().create(&account).await? {
        Created::UsernameTaken => return taken("user name"),
        Created::EmailTaken => return taken("e-mail address"),
        Created::Done => {}
    }
    let tokens = Tokens::issue(&tenant, &account).await?;
    Ok((StatusCode::CREATED, tokens).into_response())
}

fn of_caller(caller: &Caller, named: Option<&str>) -> Result<Arc<Tenant>, Problem> {
    if named.is_some_and(|named| named != caller.tenant.name().as_str()) {
        return Err(Problem::new(
            Code::WrongTenant,
            "the field `tenant` names another tenant than the credential",
        ));
    }
    Ok(caller.tenant.clone())
}

fn scopes(asked: Option<Vec<String>>, by_admin: bool) -> Result<Vec<String>, Problem> {
    match asked {
        None => Ok(Scope::OF_USERS.iter().map(|scope| scope.word().to_owned()).collect()),
        Some(_) if !by_admin => {
            Err(Problem::new(Code::MissingScope, "only a credential with the scope admin may set `scopes`"))
        }
        Some(scopes) => {
            check_scopes(&scopes)?;
            Ok(scopes)
        }
    }
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
