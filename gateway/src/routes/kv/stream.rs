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
    json::{end_line, push_entry, push_item},
};

use super::{counted, list::Parameters};
use crate::{Gateway, auth::Caller, problem::Problem, routes::lasting::Lasting, telemetry::OperationKind};

/// A line each.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// Keys of one part.
const PART: u64 = 1000;
/// Where a part with values ends early, in bytes of them: a client that does not read holds one in memory.
const PART_BYTES: u64 = 256 * 1024;

/// Answers with the first part, and goes on with the next ones as the client reads.
pub(super) async fn stream(
    gateway: Arc<Gateway>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let mut lines =
        Lines { lasting: Lasting::begin(gateway, &caller)?, after: parameters.after.clone(), parameters };
    // What is wrong from the start is told with its status; later the answer can only break off.
    let first = counted(&caller, OperationKind::List, lines.next().await)?;
    let body = Body::from_stream(lines.into_stream(first));
    // A proxy that collects the answer would need room for all of it (nginx reads the second header).
    let headers = [(header::CONTENT_TYPE, NDJSON), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, body).into_response())
}

/// Where one client is in the keys.
struct Lines {
    lasting: Lasting,
    parameters: Parameters,
    /// The last key that was given; none at the end.
    after: Option<String>,
}

impl Lines {
    fn into_stream(self, first: Bytes) -> impl Stream<Item = io::Result<Bytes>> {
        stream::unfold((Some(self), Some(first)), async |(lines, first)| {
            let mut lines = lines?;
            if let Some(first) = first {
                return Some((Ok(first), (Some(lines), None)));
            }
            lines.after.as_ref()?;
            let part = if lines.lasting.may_go_on().await {
                lines.next().await.map_err(io::Error::other)
            } else {
                Err(io::Error::other("it may not go on"))
            };
            // Where there is none the client sees an answer without its end, and knows that it is not whole.
            if let Err(error) = &part {
                tracing::warn!(tenant = %lines.lasting.tenant().name(), %error, "a stream of entries broke off");
                return Some((part, (None, None)));
            }
            Some((part, (Some(lines), None)))
        })
    }

    /// The next part; it may be empty only at the end.
    async fn next(&mut self) -> Result<Bytes, Error> {
        let filter = Filter { prefix: &self.parameters.prefix, tags: &self.parameters.tags };
        let tenant = self.lasting.tenant();
        let store = self.parameters.from.store(tenant);
        let mut json = String::new();
        let from = self.after.take().unwrap_or_default();
        self.after = if self.parameters.values {
            let part = store.scan(filter, &from, PART, PART_BYTES).await?;
            push_lines(&mut json, part, push_entry)
        } else {
            push_lines(&mut json, store.scan_keys(filter, &from, PART).await?, push_item)
        };
        Ok(tenant.answer(json))
    }
}

fn push_lines<T>(
    json: &mut String,
    part: Listing<T>,
    push: impl Fn(&mut String, &str, &T),
) -> Option<String> {
    for (key, item) in &part.items {
        let begin = json.len();
        json.push('{');
        push(json, key, item);
        json.push('}');
        end_line(json, begin);
    }
    part.next_after
}
