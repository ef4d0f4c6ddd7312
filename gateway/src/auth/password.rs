//! Passwords: argon2id, off the request threads, a few at a time.
//!
//! Parameters are OWASP's for small machines: 19 MiB, two passes, one lane; about 20 ms of one core.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::problem::{Code, Problem};

/// Longest password, in bytes: what is longer is no password and costs time.
const MAX_BYTES: usize = 256;
/// Hashes at a time: their memory and CPU must not crowd out requests.
const AT_ONCE: usize = 2;
/// Callers that may wait for their turn: what is beyond would only time out.
const MAX_WAITING: usize = 64;
/// The hash of a random password: verified where there is no such user, so that the time tells nothing.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keS0x$Vq6mZ2u9f3s1o8XkM0Y5cW7bTqLr4hD2pNjGxAeUIvE";

/// Hashes and verifies, bounded.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    /// The PHC string of a password that keeps the rules.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        check(&password)?;
        self.run(move || {
            Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).ok()
        })
        .await?
        .ok_or_else(|| Problem::new(Code::Internal, "the password could not be hashed"))
    }

    /// Whether the password is the one of the hash; none: nobody's, in the same time.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        if password.len() > MAX_BYTES {
            return Ok(false);
        }
        self.run(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
            let right = PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            known && right
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let busy = || Problem::new(Code::TooBusy, "too many log-ins at once: retry later");
        let place = self.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| busy())?;
        // They go with the work, which runs on where the client hangs up: else hanging up would get around the bound.
        let held = move || {
            let _held = (place, turn);
            work()
        };
        tokio::task::spawn_blocking(held)
            .await
            .map_err(|_| Problem::new(Code::Internal, "a password check failed"))
    }
}

fn check(password: &str) -> Result<(), Problem> {
    let has = |class: fn(char) -> bool| password.chars().any(class);
    let strong = password.chars().count() >= 8
        && password.len() <= MAX_BYTES
        && has(char::is_uppercase)
        && has(char::is_lowercase)
        && has(|c| c.is_ascii_digit());
    if strong {
        Ok(())
    } else {
        Err(Problem::new(
            Code::WeakPassword,
            "a password has at least 8 characters with an upper-case and a lower-case letter and a digit, and at most 256 bytes",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_costs_as_much_as_that_of_somebody() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let somebody = Argon2::default().hash_password(b"Correct-horse-7").unwrap();
        assert_eq!(nobody.params, somebody.params);
        assert_eq!(nobody.hash.unwrap().len(), somebody.hash.unwrap().len());
    }

    #[test]
    fn a_password_keeps_the_rules() {
        assert!(check("Correct-horse-7").is_ok());
        for weak in
            ["", "Short-7", "no-upper-case-7", "NO-LOWER-CASE-7", "No-digit-at-all", &"Aa1".repeat(100)]
        {
            assert!(check(weak).is_err(), "{weak}");
        }
    }
}
