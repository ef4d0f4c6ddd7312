//! The tenant's accounts and refresh tokens. Passwords arrive hashed; of a token only its SHA-256 is kept.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use keystead_route::{SecretText, TenantName};
use redis::{Value, cmd};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    connection::Connection,
    error::{Effect, Error},
    script,
};

/// An account, as it is kept in Redis.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    /// As the user wrote it; two names that differ only in the case of ASCII letters are the same.
    pub username: String,
    pub email: String,
    /// PHC string of the password's hash.
    pub password_hash: String,
    pub scopes: Vec<String>,
    pub is_active: bool,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Account").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What became of a new account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    Done,
    UsernameTaken,
    EmailTaken,
}

/// What became of a refresh token that was presented.
#[derive(Debug)]
pub enum Rotated {
    /// It was current: here is its successor and whose it is.
    Done { username: String, successor: SecretText },
    /// It is unknown or has expired.
    Unknown,
    /// It was spent before: its whole family is revoked.
    Reused,
}

/// The tenant's accounts.
#[derive(Clone, Debug)]
pub struct Accounts {
    connection: Connection,
}

/// Attempts to log in as one user before the next has to wait.
const FREE_ATTEMPTS: u32 = 10;
/// Longest wait between two attempts after that, in seconds.
const LONGEST_WAIT: u32 = 900;
/// How long attempts are remembered, in seconds.
const ATTEMPTS_REMEMBERED: u32 = 3600;
/// Prefix of every refresh token, so that scanners of leaked secrets find them.
const PREFIX: &str = "ksr_";

impl Accounts {
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Makes an account unless its name or address is taken.
    pub async fn create(&self, account: &Account) -> Result<Created, Error> {
        let document = serde_json::to_vec(account).map_err(|_| crate::entry::Corrupt::Malformed)?;
        let name = account.username.to_ascii_lowercase();
        let email = format!("auth:{{a}}:email:{}", account.email.to_ascii_lowercase());
        let account = account_key(&name);
        let keys: [&[u8]; 2] = [account.as_bytes(), email.as_bytes()];
        let arguments: [&[u8]; 2] = [&document, name.as_bytes()];
        let answer: u8 =
            self.connection.eval(&script::ACCOUNT_CREATE, Effect::Write, &keys, &arguments).await?;
        Ok(match answer {
            0 => Created::Done,
            1 => Created::UsernameTaken,
            _ => Created::EmailTaken,
        })
    }

    pub async fn find(&self, username: &str) -> Result<Option<Account>, Error> {
        let name = username.to_ascii_lowercase();
        let document: Option<Vec<u8>> = self.connection.read(cmd("GET").arg(account_key(&name))).await?;
        match document {
            None => Ok(None),
            Some(document) => {
                let account =
                    serde_json::from_slice(&document).map_err(|_| crate::entry::Corrupt::Malformed)?;
                Ok(Some(account))
            }
        }
    }

    /// Counts an attempt to log in as this user, whether there is one or not. Too many without a success: how long the
    /// next has to wait, and this one must not be made.
    pub async fn begin_login(&self, username: &str) -> Result<Option<Duration>, Error> {
        let key = attempts_key(username);
        let numbers = [FREE_ATTEMPTS, LONGEST_WAIT, ATTEMPTS_REMEMBERED].map(|number| number.to_string());
        let arguments: Vec<&[u8]> = numbers.iter().map(String::as_bytes).collect();
        let wait: u64 =
            self.connection.eval(&script::LOGIN_BEGIN, Effect::Write, &[key.as_bytes()], &arguments).await?;
        Ok((wait > 0).then(|| Duration::from_millis(wait)))
    }

    /// The password was right: the attempts before it are forgotten.
    pub async fn end_login(&self, username: &str) -> Result<(), Error> {
        let mut delete = cmd("DEL");
        delete.arg(attempts_key(username));
        let _deleted: u64 = self.connection.run(&delete, Effect::Write).await?;
        Ok(())
    }

    /// Begins a family of refresh tokens with its first one.
    pub async fn issue_refresh(
        &self,
        tenant: &TenantName,
        username: &str,
        ttl: Duration,
    ) -> Result<SecretText, Error> {
        let family = uuid::Uuid::now_v7().simple().to_string();
        let token = new_token(tenant, &family);
        let (first, life) = (hash(token.expose()), milliseconds(ttl).to_string());
        let family = family_key(&family);
        let arguments: [&[u8]; 3] = [username.as_bytes(), first.as_bytes(), life.as_bytes()];
        let keys: [&[u8]; 1] = [family.as_bytes()];
        let _set: u8 = self.connection.eval(&script::REFRESH_ISSUE, Effect::Write, &keys, &arguments).await?;
        Ok(token)
    }

    /// Spends a refresh token for its successor. There is no second chance for a lost answer: a token presented twice
    /// ends its family, and the user logs in again.
    pub async fn rotate_refresh(
        &self,
        tenant: &TenantName,
        token: &str,
        ttl: Duration,
    ) -> Result<Rotated, Error> {
        let Some(family) = family_of_refresh(token) else { return Ok(Rotated::Unknown) };
        let successor = new_token(tenant, family);
        let (presented, next, life) = (hash(token), hash(successor.expose()), milliseconds(ttl).to_string());
        let family = family_key(family);
        let keys: [&[u8]; 1] = [family.as_bytes()];
        let arguments: [&[u8]; 3] = [presented.as_bytes(), next.as_bytes(), life.as_bytes()];
        let answer: Vec<Value> =
            self.connection.eval(&script::REFRESH_ROTATE, Effect::Write, &keys, &arguments).await?;
        match &answer[..] {
            [Value::Int(1), Value::BulkString(user)] => {
                let username = String::from_utf8_lossy(user).into_owned();
                Ok(Rotated::Done { username, successor })
            }
            [Value::Int(2)] => Ok(Rotated::Reused),
            _ => Ok(Rotated::Unknown),
        }
    }

    /// Ends a family of refresh tokens, as [`family_of_refresh`] names it.
    pub async fn revoke_family(&self, family: &str) -> Result<(), Error> {
        let mut delete = cmd("DEL");
        delete.arg(family_key(family));
        let _deleted: u64 = self.connection.run(&delete, Effect::Write).await?;
        Ok(())
    }
}

/// The tenant that a refresh token says it is of; the store decides whether it is.
pub fn tenant_of_refresh(token: &str) -> Option<TenantName> {
    token.strip_prefix(PREFIX)?.split_once('.')?.0.parse().ok()
}

/// The family of a refresh token: all that were issued since a log-in, each for the one before.
pub fn family_of_refresh(token: &str) -> Option<&str> {
    let family = token.strip_prefix(PREFIX)?.split('.').nth(1)?;
    (family.len() == 32 && family.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(family)
}

fn account_key(name: &str) -> String {
    format!("auth:{{a}}:user:{name}")
}

/// Hashed, so that a long name takes no more room than a short one.
fn attempts_key(username: &str) -> String {
    format!("auth:{{a}}:attempts:{}", hash(&username.to_ascii_lowercase()))
}

fn family_key(family: &str) -> String {
    format!("auth:{{a}}:refresh:{family}")
}

/// `ksr_<tenant>.<family>.<256 random bits>`
fn new_token(tenant: &TenantName, family: &str) -> SecretText {
    let secret: [u8; 32] = rand::random();
    format!("{PREFIX}{tenant}.{family}.{}", BASE64_URL_SAFE_NO_PAD.encode(secret)).into()
}

/// SHA-256. A random token of 256 bits needs no salt and no slow hash; comparing hashes tells nothing of the token.
fn hash(token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}

fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
