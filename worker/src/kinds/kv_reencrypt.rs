//! `kv.reencrypt`: writes every value anew that is not encrypted with the key of today, or that ought not to be encrypted.

use std::time::Instant;

use keystead_kv::Store;
use serde_json::json;
use tokio::time::sleep_until;

use super::{Context, Failure, Output};

/// Keys that one step looks at.
const STEP: u64 = 1000;

/// Ends with a pass that had nothing to do and began when nobody wrote with the key before any more.
pub(super) async fn run(context: &Context) -> Result<Output, Failure> {
    let store = &context.store;
    let mut rewritten = 0;
    let seen = loop {
        let began = Instant::now();
        let (seen, changed) = pass(store).await?;
        rewritten += changed;
        if changed > 0 {
            continue;
        }
        if began >= context.keys_settled {
            break seen;
        }
        sleep_until(context.keys_settled.into()).await;
    };
    store.set_resealed().await?;
    Ok(Output { result: json!({"entries": seen, "rewritten": rewritten}).to_string(), bytes: Vec::new() })
}

async fn pass(store: &Store) -> Result<(u64, u64), Failure> {
    let (mut seen, mut changed, mut after) = (0, 0, String::new());
    loop {
        let part = store.reseal(&after, STEP).await?;
        seen += part.seen;
        changed += part.changed;
        match part.next_after {
            Some(next) => after = next,
            None => return Ok((seen, changed)),
        }
    }
}
