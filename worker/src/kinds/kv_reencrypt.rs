//! `kv.reencrypt`: writes every value anew that is not encrypted with the key of today, or that ought not to be encrypted.

use std::time::{Duration, Instant};

use keystead_kv::{Resealed, Store, queue::kinds::Reencrypt};
use serde_json::json;
use tokio::time::{sleep, sleep_until};

use super::{Context, Failure, Output};
use crate::attempt::{Attempt, percent};

/// Keys that one step looks at.
const STEP: u64 = 1000;
/// Between two passes, where somebody goes on writing with another key.
const PAUSE: Duration = Duration::from_secs(5);

/// Ends with a pass that had nothing to do and began when nobody wrote with the key before any more.
pub(super) async fn run(
    wanted: &Reencrypt,
    context: &Context,
    attempt: &Attempt<'_>,
) -> Result<Output, Failure> {
    let store = &context.store;
    if wanted.target.as_ref().is_some_and(|target| *target != store.target()) {
        // Workers are replaced one after the other: this one is of before, or of after.
        return Err(Failure::Transient("this worker has another encryption key than the job is for".into()));
    }
    let mut rewritten = 0;
    let last = loop {
        let began = Instant::now();
        let pass = pass(store, attempt).await?;
        rewritten += pass.changed;
        if pass.changed > 0 {
            sleep(PAUSE).await;
            continue;
        }
        if began >= context.keys_settled {
            break pass;
        }
        sleep_until(context.keys_settled.into()).await;
    };
    if let Some((key, why)) = last.unreadable {
        return Err(Failure::Permanent(format!(
            "{} values cannot be decrypted, all others are done; the first is under the key {key:?}: {why}",
            last.unread
        )));
    }
    store.set_resealed().await?;
    let result = json!({"entries": last.seen, "rewritten": rewritten});
    Ok(Output { result: result.to_string() })
}

async fn pass(store: &Store, attempt: &Attempt<'_>) -> Result<Resealed, Failure> {
    let keys = store.count().await?;
    let (mut all, mut after) = (Resealed::default(), String::new());
    loop {
        let part = store.reseal(&after, STEP).await?;
        all.seen += part.seen;
        all.changed += part.changed;
        all.unread += part.unread;
        all.unreadable = all.unreadable.or(part.unreadable);
        match part.next_after {
            Some(next) => after = next,
            None => return Ok(all),
        }
        // A next attempt looks at all of them again: what is done already costs it little.
        let message = format!("{} of {keys} looked at, {} rewritten", all.seen, all.changed);
        attempt.report(percent(all.seen, keys), &message, &()).await?;
    }
}
