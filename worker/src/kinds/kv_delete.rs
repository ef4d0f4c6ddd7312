//! `kv.delete`: deletes the keys that have a prefix and tags.
//!
//! A key that is written meanwhile is deleted where it comes behind what was looked at last.

use keystead_kv::{Done, Filter, Operation, Select, Store, queue::kinds::Delete};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Failure, Output};
use crate::attempt::{Attempt, percent};

/// Keys that are deleted in one round trip.
const STEP: u64 = 500;

#[derive(Default, Serialize, Deserialize)]
struct Position {
    /// The last key that was looked at.
    after: String,
    deleted: u64,
}

pub(super) async fn run(delete: &Delete, store: &Store, attempt: &Attempt<'_>) -> Result<Output, Failure> {
    let filter = Filter { prefix: &delete.prefix, tags: &delete.tags };
    let mut at: Position = attempt.checkpoint();
    let all = at.deleted + store.list(filter, Select::Offset(0), 1).await?.total;
    loop {
        let part = store.scan_keys(filter, &at.after, STEP).await?;
        let deletes: Vec<Operation> =
            part.items.into_iter().map(|(key, _)| Operation::Delete { key }).collect();
        for done in store.batch(&deletes).await? {
            at.deleted += u64::from(matches!(done?, Done::Deleted(true)));
        }
        let Some(next) = part.next_after else { break };
        at.after = next;
        attempt.report(percent(at.deleted, all), &format!("{} deleted", at.deleted), &at).await?;
    }
    Ok(Output { result: json!({"deleted": at.deleted}).to_string() })
}
