//! `GET /kv` as NDJSON: all entries, however many, a part at a time, as fast as the client reads them.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderName, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{Stream, stream};
use keystead_kv::{
    Error, Filter, Listing,
    json::{push_entry, push_item},
};

use super::{counted, list::Parameters};
use crate::{auth::Caller, problem::Problem, slot::Slot, telemetry::OperationKind, tenants::Tenant};

/// A line each.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// Keys of one part.
const PART: u64 = 1000;
/// Where a part with values ends early, in bytes of them.
const PART_BYTES: u64 = 1024 * 1024;

/// Answers with the first part, and goes on with the next ones as the client reads.
pub(super) async fn stream(caller: Caller, parameters: Parameters) -> Result<Response, Problem> {
    let mut lines = Lines {
        tenant: caller.tenant.clone(),
        // Counted as a watcher: it may last.
        _place: caller.tenant.watch()?,
        after: parameters.after.clone(),
        parameters,
    };
    // What is wrong from the start is told with its status; later the answer can only break off.
    let first = counted(&caller, OperationKind::List, lines.next().await)?;
    let body = Body::from_stream(lines.into_stream(first));
    // A proxy that collects the answer would need room for all of it (nginx reads the second header).
    let headers = [(header::CONTENT_TYPE, NDJSON), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, body).into_response())
}

/// Where one client is in the keys.
struct Lines {
    tenant: Arc<Tenant>,
    parameters: Parameters,
    /// The last key that was given; none at the end.
    after: Option<String>,
    _place: Slot,
}

impl Lines {
    fn into_stream(self, first: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
        stream::unfold((Some(self), Some(first)), async |(lines, first)| {
            let mut lines = lines?;
            if let Some(first) = first {
                return Some((Ok(first), (Some(lines), None)));
            }
            lines.after.as_ref()?;
            match lines.next().await {
                Ok(part) => Some((Ok(part), (Some(lines), None))),
                // The client sees an answer without its end, and knows that it is not whole.
                Err(error) => {
                    tracing::warn!(tenant = %lines.tenant.name(), %error, "a stream of entries broke off");
                    Some((Err(io::Error::other(error)), (None, None)))
                }
            }
        })
    }

    /// The next part; it may be empty only at the end.
    async fn next(&mut self) -> Result<Bytes, Error> {
        let filter = Filter { prefix: &self.parameters.prefix, tags: &self.parameters.tags };
        let store = self.tenant.store();
        let mut json = String::new();
        let from = self.after.take().unwrap_or_default();
        self.after = if self.parameters.values {
            let part = store.scan(filter, &from, PART, PART_BYTES).await?;
            push_lines(&mut json, part, push_entry)
        } else {
            push_lines(&mut json, store.scan_keys(filter, &from, PART).await?, push_item)
        };
        Ok(json.into())
    }
}

fn push_lines<T>(
    json: &mut String,
    part: Listing<T>,
    push: impl Fn(&mut String, &str, &T),
) -> Option<String> {
    for (key, item) in &part.items {
        json.push('{');
        push(json, key, item);
        json.push_str("}\n");
    }
    part.next_after
}
