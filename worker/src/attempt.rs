//! One attempt at a job, as its handler sees it: where the one before ended, how far it is, and the bytes that it leaves.

use keystead_kv::{
    Error,
    queue::{Claim, Claims, Left, Report},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::kinds::Failure;

#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    claims: &'a Claims,
    claim: &'a Claim,
    max_result_bytes: u64,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(claims: &'a Claims, claim: &'a Claim, max_result_bytes: u64) -> Self {
        Self { claims, claim, max_result_bytes }
    }

    /// Of the job: the same at each attempt.
    pub(crate) fn id(&self) -> &str {
        &self.claim.id
    }

    /// Where the attempt before ended; from the beginning where there was none, or where it was of another version.
    pub(crate) fn checkpoint<T: DeserializeOwned + Default>(&self) -> T {
        self.claim.checkpoint.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Says how far it is: a next attempt begins at the checkpoint.
    pub(crate) async fn report(
        &self,
        percent: u8,
        message: &str,
        checkpoint: &impl Serialize,
    ) -> Result<(), Failure> {
        let checkpoint = text(checkpoint)?;
        let report = Report { percent: Some(percent), message, checkpoint: Some(&checkpoint) };
        if self.claims.report(self.claim, &report).await? { Ok(()) } else { Err(lost()) }
    }

    /// The same, and adds a part to the bytes that the job leaves.
    pub(crate) async fn leave(
        &self,
        number: u32,
        plain: &[u8],
        percent: u8,
        message: &str,
        checkpoint: &impl Serialize,
    ) -> Result<(), Failure> {
        let checkpoint = text(checkpoint)?;
        let report = Report { percent: Some(percent), message, checkpoint: Some(&checkpoint) };
        match self.claims.leave(self.claim, number, plain, &report, self.max_result_bytes).await {
            Ok(Left::Kept) => Ok(()),
            Ok(Left::Lost) => Err(lost()),
            Ok(Left::TooMuch) => Err(Failure::Permanent(format!(
                "the result has more than {} bytes when it is compressed: choose a narrower prefix",
                self.max_result_bytes
            ))),
            // What is there fills it as well: only the job's end makes room again.
            Err(error @ Error::Full) => Err(Failure::Permanent(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}

fn text(checkpoint: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(checkpoint).map_err(|error| Failure::Permanent(error.to_string()))
}

fn lost() -> Failure {
    Failure::Transient("its lease had run out".into())
}

/// How much of all is done; 100 only at the end.
pub(crate) fn percent(done: u64, all: u64) -> u8 {
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(0);
    u8::try_from(percent.min(99)).unwrap_or(99)
}
