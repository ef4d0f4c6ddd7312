//! `kv.export`: the entries as NDJSON, a line each as `GET /kv/{key}` shows them, with `content_type` where that is not JSON's.
//!
//! It is no snapshot: a key that is written meanwhile is in it before or after that write.

use keystead_kv::{
    Filter, Select, Store,
    json::push_line,
    queue::{PART_BYTES, kinds::Export},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Failure, Output};
use crate::attempt::{Attempt, percent};

/// Keys of one call.
const STEP: u64 = 1000;

/// What is in the parts that are kept.
#[derive(Default, Serialize, Deserialize)]
struct Position {
    /// The last key.
    after: String,
    entries: u64,
    bytes: u64,
    parts: u32,
}

pub(super) async fn run(export: &Export, store: &Store, attempt: &Attempt<'_>) -> Result<Output, Failure> {
    let filter = Filter::with_prefix(&export.prefix);
    let all = store.list(filter, Select::Offset(0), 1).await?.total;
    let mut at: Position = attempt.checkpoint();
    let mut lines = String::new();
    loop {
        let part = store.scan(filter, &at.after, STEP, PART_BYTES as u64).await?;
        for (key, entry) in &part.items {
            at.entries += u64::from(push_line(&mut lines, key, entry));
        }
        let is_last = part.next_after.is_none();
        at.after = part.next_after.unwrap_or_default();
        // One that has nothing in it is there as well: an export of nothing is no missing one.
        if lines.len() >= PART_BYTES || (is_last && (!lines.is_empty() || at.parts == 0)) {
            let number = at.parts;
            at.parts += 1;
            at.bytes += lines.len() as u64;
            let done = percent(at.entries, all);
            attempt.leave(number, lines.as_bytes(), done, &format!("{} entries", at.entries), &at).await?;
            lines.clear();
        }
        if is_last {
            break;
        }
    }
    let result = json!({"entries": at.entries, "bytes": at.bytes, "content_type": "application/x-ndjson"});
    Ok(Output { result: result.to_string() })
}
