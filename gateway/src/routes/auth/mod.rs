//! Accounts and tokens.

pub(super) mod api_keys;
pub(super) mod login;
pub(super) mod me;
pub(super) mod refresh;
pub(super) mod register;
mod sign_up;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use keystead_kv::accounts::{Account, family_of_refresh};
use serde::Serialize;

use crate::{
    Gateway,
    auth::{Scope, Session, mint},
    problem::{Code, Problem},
    tenants::Tenant,
};

pub(super) use api_keys::{
    create as create_api_key, list as list_api_keys, revoke as revoke_api_key, rotate as rotate_api_key,
};
pub(super) use login::login;
pub(super) use me::me;
pub(super) use refresh::{logout, refresh};
pub(super) use register::register;

/// Tokens, as OAuth 2 names their parts.
#[derive(Serialize)]
struct Tokens {
    tenant_id: String,
    access_token: String,
    refresh_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
}

impl Tokens {
    /// A first pair for an account.
    async fn issue(tenant: &Tenant, account: &Account) -> Result<Self, Problem> {
        let life = refresh_life(tenant);
        tenant.touch();
        let refresh_token = tenant.accounts().issue_refresh(tenant.name(), &account.username, life).await?;
        let access_token = access_token(tenant, account, refresh_token.expose())?;
        Ok(Self::new(tenant, access_token, refresh_token.expose()))
    }

    fn new(tenant: &Tenant, access_token: String, refresh_token: &str) -> Self {
        Self {
            tenant_id: tenant.name().to_string(),
            access_token,
            refresh_token: refresh_token.to_owned(),
            token_type: "bearer",
            expires_in: tenant.route().auth.access_token_ttl_seconds,
        }
    }
}

impl IntoResponse for Tokens {
    /// RFC 6749, section 5.1: no cache keeps a token.
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, "no-store")], Json(self)).into_response()
    }
}

/// An access token that names the session of the refresh token.
fn access_token(tenant: &Tenant, account: &Account, refresh_token: &str) -> Result<String, Problem> {
    let family = family_of_refresh(refresh_token);
    mint(tenant, Session { username: &account.username, scopes: &account.scopes, family })
}

/// At least one, and each of them known.
fn check_scopes(scopes: &[String]) -> Result<(), Problem> {
    if let Some(unknown) = scopes.iter().find(|word| Scope::parse(word).is_none()) {
        let detail = format!("scopes: there is no {unknown:?}; choose from {}", Scope::words());
        return Err(Problem::new(Code::Invalid, detail));
    }
    if scopes.is_empty() {
        return Err(Problem::new(Code::Invalid, format!("scopes: at least one of {}", Scope::words())));
    }
    Ok(())
}

fn refresh_life(tenant: &Tenant) -> Duration {
    Duration::from_secs(tenant.route().auth.refresh_token_ttl_seconds)
}

/// The tenant of a request without a token: of its path or of its body, which must not contradict each other.
fn named_tenant(gateway: &Gateway, path: Option<&str>, body: Option<&str>) -> Result<Arc<Tenant>, Problem> {
    let name = match (path, body) {
        (Some(path), Some(body)) if path != body => {
            return Err(Problem::new(
                Code::Invalid,
                "the path and the field `tenant` name different tenants",
            ));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => {
            return Err(Problem::new(
                Code::Invalid,
                "no tenant is named: send the field `tenant` or use /t/<tenant>/api/v1",
            ));
        }
    };
    gateway
        .table
        .get(name)
        .ok_or_else(|| Problem::new(Code::TenantUnknown, "no tenant of this name is served here"))
}
