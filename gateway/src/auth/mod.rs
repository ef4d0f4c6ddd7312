//! Who calls: a signature or a secret decides, never what a credential says of itself.

mod address;
mod api_key;
mod caller;
mod external;
mod password;
mod principal;
mod scope;
mod token;

pub(crate) use address::Addresses;
pub(crate) use api_key::KeyRates;
pub(crate) use caller::{Asking, Caller, Onlooker, has_credential, path_tenant};
pub(crate) use external::External;
pub(crate) use password::{Passwords, check_password};
pub(crate) use principal::{Principal, User};
pub(crate) use scope::{Scope, Scopes};
pub(crate) use token::{Session, TokenCache, mint};
