//! `ttl.sweep`: forgets what the indexes still know of expired keys.

use keystead_kv::Store;
use serde_json::json;

use super::{Failure, Output};

/// Keys that one run forgets at most: the next run goes on.
const BUDGET: u64 = 5_000_000;

pub(super) async fn run(store: &Store) -> Result<Output, Failure> {
    let swept = store.sweep(BUDGET).await?;
    Ok(Output { result: json!({"swept": swept}).to_string() })
}
