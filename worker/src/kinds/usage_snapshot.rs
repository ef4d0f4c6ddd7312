//! `usage.snapshot`: what the tenant uses, kept for `GET /diag`.

use keystead_kv::usage::Usage;

use super::{Context, Failure, Output};

pub(super) async fn run(context: &Context) -> Result<Output, Failure> {
    let usage = Usage::observe(&context.connection, &context.store).await?;
    usage.keep(&context.connection).await?;
    // Numbers: this cannot fail.
    Ok(Output { result: serde_json::to_string(&usage).unwrap_or_default() })
}
