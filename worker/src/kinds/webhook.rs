//! `webhook`: tells somebody else, at least once.

use keystead_kv::queue::Webhook;
use serde_json::json;

use super::{Context, Failure, Output};
use crate::{attempt::Attempt, webhook::SendError};

pub(super) async fn run(
    webhook: &Webhook,
    context: &Context,
    attempt: &Attempt<'_>,
) -> Result<Output, Failure> {
    let answer = context.webhooks.send(attempt.id(), webhook).await.map_err(|error| match error {
        SendError::Refused(_) => Failure::Permanent(error.to_string()),
        error => Failure::Transient(error.to_string()),
    })?;
    let status = answer.status;
    if status.is_success() {
        let result = json!({"status": status.as_u16(), "body": answer.body});
        return Ok(Output { result: result.to_string() });
    }
    let origin = webhook.url.origin();
    let says = format!("{origin} answers {}: {}", status.as_u16(), answer.body);
    Err(match (status.as_u16(), answer.retry_after) {
        (429 | 500..=599, Some(after)) => Failure::Later(says, after),
        (429 | 500..=599, None) => Failure::Transient(says),
        (300..=399, _) => {
            let status = status.as_u16();
            let what = "redirects are not followed, give the URL that it leads to";
            Failure::Permanent(format!("{origin} answers {status}: {what}"))
        }
        _ => Failure::Permanent(says),
    })
}
