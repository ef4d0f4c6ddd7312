//! Accounts and tokens.

mod login;
mod me;
mod refresh;
mod register;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use keystead_kv::accounts::Account;
use serde::Serialize;

use crate::{
    Gateway,
    auth::mint,
    problem::{Code, Problem},
    tenants::Tenant,
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
        let access_token = mint(tenant, &account.username, &account.scopes)?;
        let life = refresh_life(tenant);
        let refresh_token = tenant.accounts().issue_refresh(tenant.name(), &account.username, life).await?;
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
