//! Who calls: the token's signature decides, never what it says of itself.

mod caller;
mod password;
mod token;

pub(crate) use caller::{Caller, path_tenant};
pub(crate) use password::Passwords;
pub(crate) use token::{Claims, Scope, TokenCache, mint};
