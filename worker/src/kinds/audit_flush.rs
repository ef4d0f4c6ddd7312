//! `audit.flush`: sends what of the audit log was not sent to Loki, in order, and notes how far it came.
//!
//! What Loki has taken and could not confirm is sent again: it knows an entry by its time and text, and keeps it once.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::time::sleep;

use super::{Context, Failure, Output};
use crate::loki::PushError;

/// Entries that are sent at once: with the longest keys about a megabyte.
const BATCH: u64 = 500;
/// After this long the next run goes on.
const LONGEST: Duration = Duration::from_secs(20);
/// Where Loki asks for less at a time.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two runs while Loki does not take anything, at first and at most.
const BACK_OFF: (u64, u64) = (1, 300);

pub(super) async fn run(context: &Context) -> Result<Output, Failure> {
    let loki = context.loki.as_ref().ok_or_else(|| {
        Failure::Permanent("this worker knows no Loki: set spec.audit.lokiUrl of the Tenant".into())
    })?;
    let (started, mut sent, mut refused) = (Instant::now(), 0_usize, 0_usize);
    let left = loop {
        let unsent = context.audit.unsent(BATCH).await?;
        let count = unsent.entries.len();
        if count == 0 || started.elapsed() > LONGEST {
            break unsent.left + count as u64;
        }
        let are_refused = match loki.push(&unsent.entries).await {
            Ok(()) => false,
            // Some of them, by their age or size; it says so for all, and has taken the others.
            Err(PushError::Refused(why)) => {
                tracing::error!(entries = count, why, "Loki refuses entries of the audit log");
                true
            }
            Err(PushError::TooFast) => {
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(put_off(context, &error).await?),
        };
        if !context.audit.sent(&unsent, are_refused).await? {
            // Another run has been faster: it goes on.
            break unsent.left;
        }
        *(if are_refused { &mut refused } else { &mut sent }) += count;
    };
    let result = json!({"sent": sent, "refused": refused, "left": left});
    Ok(Output { result: result.to_string() })
}

/// Notes when the next run is to be: nobody knocks every few seconds at what is away for hours.
async fn put_off(context: &Context, error: &PushError) -> Result<Failure, Failure> {
    let failures = context.audit.backlog().await?.failures;
    let seconds = (BACK_OFF.0 << failures.min(16)).min(BACK_OFF.1);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let retry_at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add(seconds * 1000);
    context.audit.failed(failures.saturating_add(1), retry_at).await?;
    Ok(Failure::Permanent(format!("{error}: nothing is lost, another run begins in {seconds} s")))
}
