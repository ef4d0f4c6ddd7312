//! Passwords: argon2id, off the request threads, a few at a time.
//!
//! Parameters are OWASP's for small machines: 19 MiB, two passes, one lane; about 20 ms of one core.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use tokio::sync::Semaphore;

use crate::{
    problem::{Code, Problem},
    slot::Slot,
};

/// Longest password, in bytes: what is longer is no password and costs time.
const MAX_BYTES: usize = 256;
/// Hashes at a time: their memory and CPU must not crowd out requests.
const AT_ONCE: usize = 2;
/// Callers that may wait for their turn: what is beyond would only time out.
const MAX_WAITING: usize = 64;
/// The hash of a random password: verified where there is no such user, so that the time tells nothing.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keS0x$Vq6mZ2u9f3s1o8XkM0Y5cW7bTqLr4hD2pNjGxAeUIvE";

/// Most passes that a stored hash may ask for: it stands in the tenant's Redis, and must not be able to cost more.
const MAX_PASSES: u32 = 4;

/// Hashes and verifies, bounded in number and in memory.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// The memory of those who have no turn. Kept, because an allocator keeps what its threads gave back, once for
    /// each thread: a hundred log-ins took 260 MiB.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            memory: Arc::default(),
        }
    }

    /// The PHC string of a password that keeps the rules.
    pub(crate) async fn hash(&self, password: String, place: Option<Slot>) -> Result<String, Problem> {
        check_password(&password)?;
        self.run(place, move |memory| hash(&password, memory).map(|hash| hash.to_string()))
            .await?
            .ok_or_else(|| Problem::new(Code::Internal, "the password could not be hashed"))
    }

    /// Whether the password is the one of the hash; none: nobody's, in the same time.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
        place: Slot,
    ) -> Result<bool, Problem> {
        if password.len() > MAX_BYTES {
            return Ok(false);
        }
        self.run(Some(place), move |memory| {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
            let right = PasswordHash::new(&hash).is_ok_and(|hash| is_of(&hash, &password, memory));
            known && right
        })
        .await
    }

    /// `counted`: the tenant's place among those of its passwords.
    async fn run<T: Send + 'static>(
        &self,
        counted: Option<Slot>,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || Problem::new(Code::TooBusy, "too many log-ins at once: retry later");
        let place = self.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| busy())?;
        let pool = self.memory.clone();
        // They go with the work, which runs on where the client hangs up: else hanging up would get around the bound.
        let held = move || {
            let _held = (place, turn, counted);
            let mut memory = pool.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let outcome = work(&mut memory);
            pool.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
            outcome
        };
        tokio::task::spawn_blocking(held)
            .await
            .map_err(|_| Problem::new(Code::Internal, "a password check failed"))
    }
}

/// The hash of a password with a new salt.
fn hash(password: &str, memory: &mut Vec<Block>) -> Option<PasswordHash> {
    let (params, salt) = (Params::default(), Salt::generate());
    let hash = digest(password, &salt, &params, Params::DEFAULT_OUTPUT_LEN, memory)?;
    Some(PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).ok()?,
        salt: Some(salt),
        hash: Some(hash),
    })
}

/// Whether a hash is of this password; compared in constant time. A hash that is not of our making is of none.
fn is_of(hash: &PasswordHash, password: &str, memory: &mut Vec<Block>) -> bool {
    let ours = hash.algorithm == Algorithm::Argon2id.ident() && hash.version == Some(Version::V0x13.into());
    let (Ok(params), Some(salt), Some(expected)) = (Params::try_from(hash), hash.salt, hash.hash) else {
        return false;
    };
    let affordable = params.block_count() <= Params::default().block_count() && params.t_cost() <= MAX_PASSES;
    ours && affordable && digest(password, &salt, &params, expected.len(), memory) == Some(expected)
}

fn digest(
    password: &str,
    salt: &Salt,
    params: &Params,
    length: usize,
    memory: &mut Vec<Block>,
) -> Option<Output> {
    memory.resize(Params::default().block_count(), Block::default());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let mut digest = [0; Output::MAX_LENGTH];
    let digest = digest.get_mut(..length)?;
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, digest, memory.as_mut_slice()).ok()?;
    Output::new(digest).ok()
}

/// The rules that a new password keeps.
pub(crate) fn check_password(password: &str) -> Result<(), Problem> {
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
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    #[test]
    fn the_hash_of_nobody_costs_as_much_as_that_of_somebody() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let somebody = hash("Correct-horse-7", &mut Vec::new()).unwrap();
        assert_eq!(nobody.params, somebody.params);
        assert_eq!(nobody.hash.unwrap().len(), somebody.hash.unwrap().len());
    }

    #[test]
    fn what_the_memory_was_used_for_before_changes_nothing() {
        let mut memory = Vec::new();
        let ours = hash("Correct-horse-7", &mut memory).unwrap();
        assert!(!is_of(&ours, "Correct-horse-8", &mut memory));
        assert!(is_of(&ours, "Correct-horse-7", &mut memory));
        // As the library itself sees it, with memory of its own.
        let theirs = PasswordHash::new(&ours.to_string()).unwrap();
        assert!(Argon2::default().verify_password(b"Correct-horse-7", &theirs).is_ok());
        let made_by_them = Argon2::default().hash_password(b"Correct-horse-9").unwrap();
        assert!(is_of(&made_by_them, "Correct-horse-9", &mut memory));
    }

    #[test]
    fn a_stored_hash_cannot_ask_for_more_than_ours() {
        let mut memory = Vec::new();
        for costly in ["m=1048576,t=2,p=1", "m=19456,t=1000,p=1"] {
            let hash = PasswordHash::new(&NOBODY.replace("m=19456,t=2,p=1", costly)).unwrap();
            assert!(!is_of(&hash, "x", &mut memory), "{costly}");
            assert!(memory.is_empty(), "{costly} was refused before it took memory");
        }
    }

    #[test]
    fn a_password_keeps_the_rules() {
        assert!(check_password("Correct-horse-7").is_ok());
        for weak in
            ["", "Short-7", "no-upper-case-7", "NO-LOWER-CASE-7", "No-digit-at-all", &"Aa1".repeat(100)]
        {
            assert!(check_password(weak).is_err(), "{weak}");
        }
    }
}
