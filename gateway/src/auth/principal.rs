//! Who calls, whichever credential has shown it.

use std::{borrow::Cow, sync::Arc};

use keystead_kv::api_keys::ApiKey;
use keystead_route::ADMIN_KEY_ID;

use super::{External, Scope, Scopes};
use crate::problem::{Code, Problem};

/// Who was authenticated.
#[derive(Clone, Debug)]
pub(crate) enum Principal {
    User(Arc<User>),
    /// With a token of another issuer.
    External(Arc<External>),
    ApiKey {
        key: Arc<ApiKey>,
        scopes: Scopes,
    },
    /// The API key that the operator has made for the tenant's owner.
    Admin,
}

/// The user of an access token.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) scopes: Scopes,
    /// The family of the refresh token that was issued together with the access token.
    pub(crate) session: Option<String>,
    /// Of the token, in seconds since 1970.
    pub(crate) expires: u64,
}

impl User {
    pub(crate) fn has_expired(&self) -> bool {
        self.expires <= super::token::now()
    }
}

impl Principal {
    pub(crate) fn scopes(&self) -> Scopes {
        match self {
            Self::User(user) => user.scopes,
            Self::External(user) => user.scopes,
            Self::ApiKey { scopes, .. } => *scopes,
            Self::Admin => Scopes::ALL,
        }
    }

    /// As records of what was done name it.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::User(user) => Cow::Borrowed(&user.name),
            // No user name has a bar and no issuer has one, so that nobody can be taken for another.
            Self::External(user) => format!("{}|{}", user.issuer, user.subject).into(),
            Self::ApiKey { key, .. } => format!("api-key:{}", key.id).into(),
            Self::Admin => format!("api-key:{ADMIN_KEY_ID}").into(),
        }
    }

    pub(crate) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes().has(scope) {
            Ok(())
        } else {
            Err(Problem::new(Code::MissingScope, format!("the credential needs the scope {}", scope.word())))
        }
    }

    /// What each key must begin with, one of these; none: any key.
    fn prefixes(&self) -> &[String] {
        match self {
            Self::ApiKey { key, .. } => &key.prefixes,
            Self::User(_) | Self::External(_) | Self::Admin => &[],
        }
    }

    /// Whether every key that begins with this may be read and written, also a key that is just this.
    pub(crate) fn may_use(&self, prefix: &str) -> Result<(), Problem> {
        let allowed = self.prefixes();
        if allowed.is_empty() || allowed.iter().any(|allowed| prefix.starts_with(allowed)) {
            return Ok(());
        }
        let detail = format!("the API key is for keys that begin with {} only", allowed.join(" or "));
        Err(Problem::new(Code::KeyForbidden, detail))
    }
}
