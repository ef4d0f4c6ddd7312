//! `kv.export`: the entries as NDJSON, a line each as `GET /kv/{key}` shows them.
//!
//! It is no snapshot: a key that is written meanwhile is in it before or after that write.

use keystead_kv::{Filter, Store, json::entry_json, queue::kinds::Export};
use serde_json::json;

use super::{Failure, Output};

pub(super) async fn run(export: &Export, store: &Store, max_bytes: usize) -> Result<Output, Failure> {
    let mut bytes = Vec::new();
    let mut entries = 0_u64;
    let mut after = String::new();
    loop {
        let part = store.scan(Filter::with_prefix(&export.prefix), &after, 200, u64::MAX).await?;
        for (key, entry) in &part.items {
            bytes.extend_from_slice(entry_json(key, entry).as_bytes());
            bytes.push(b'\n');
            entries += 1;
            if bytes.len() > max_bytes {
                return Err(Failure::Permanent(format!(
                    "the export has more than {max_bytes} bytes: choose a narrower prefix"
                )));
            }
        }
        match part.next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    let result = json!({"entries": entries, "bytes": bytes.len(), "content_type": "application/x-ndjson"});
    Ok(Output { result: result.to_string(), bytes })
}
