//! `GET /watch`: the store's changes as server-sent events, resumable by `Last-Event-ID`.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use keystead_kv::feed::{Change, Event, EventId, Feed};
use serde_json::json;

use super::lasting::Lasting;
use crate::{
    Gateway,
    auth::{Asking, Scope},
    http_text::header_text,
    problem::{Code, Problem},
    query::parameters,
};

/// How long nothing may be asked: expired keys are looked for, and the caller's right is, at least so often.
const PAUSE: Duration = Duration::from_secs(1);
/// Comments between events, so that nobody takes a quiet connection for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Expired keys that are looked for each time.
const SWEEP: u64 = 500;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[utoipa::path(
    get,
    path = "/watch",
    tag = "kv",
    operation_id = "watch",
    summary = "Follow the changes",
    params(
        ("prefix" = Option<String>, Query, description = "What the keys begin with"),
        ("Last-Event-ID" = Option<String>, Header, description = "Where to go on: the last `id` that was seen"),
    ),
    responses(
        (status = 200, description = "Events `put`, `delete`, `expire` and `reset`", body = String, content_type = "text/event-stream"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:read"]), ("api_key" = ["kv:read"])),
)]
pub(super) async fn watch(
    State(gateway): State<Arc<Gateway>>,
    Asking(caller): Asking,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.needs(Scope::KvRead)?;
    let prefix = prefix(query.as_deref().unwrap_or(""))?;
    caller.principal.may_use(&prefix)?;
    if caller.tenant.connection().has_shards() {
        // Each shard writes by itself: there is no order of all changes.
        let detail =
            "there is no change feed with topology Cluster: list the keys, or use topology Replicated";
        return Err(Problem::new(Code::NotWithCluster, detail));
    }
    let last = header_text(&headers, &LAST_EVENT_ID).map(str::parse::<EventId>).transpose();
    let last = last.map_err(|error| Problem::new(Code::Invalid, format!("Last-Event-ID: {error}")))?;
    let lasting = Lasting::begin(gateway, &caller)?;
    let feed = caller.tenant.feed();
    // The first answer says whether it can be done at all.
    let since = feed.since(last).await?;
    let mut watcher =
        Watcher { lasting, feed, prefix, last: since.last, waiting: VecDeque::new(), has_ended: false };
    watcher.queue(since.are_lost, since.events);
    // The position before all that waits: who saw no event yet misses none when it comes back. Without data it is no event to a
    // client, which remembers its id all the same (HTML, section 9.2.6).
    let begin = last.unwrap_or(since.last).to_string();
    watcher.waiting.push_front(SseEvent::default().retry(PAUSE).id(begin).comment("watching"));
    let events = Sse::new(watcher.into_stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // A proxy that collects the answer would keep every event back (nginx reads the second header).
    let headers = [(header::CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, events).into_response())
}

fn prefix(query: &str) -> Result<String, Problem> {
    let mut prefix = String::new();
    for parameter in parameters(query, "") {
        let (name, value) = parameter?;
        match &*name {
            "prefix" => prefix = value.into_owned(),
            other => {
                let detail = format!("the query has no parameter {other:?}: prefix is known");
                return Err(Problem::new(Code::Invalid, detail));
            }
        }
    }
    Ok(prefix)
}

/// One client that watches. It has its own place in the feed, so that a slow one holds up nobody.
struct Watcher {
    lasting: Lasting,
    feed: Feed,
    prefix: String,
    last: EventId,
    waiting: VecDeque<SseEvent>,
    has_ended: bool,
}

impl Watcher {
    fn into_stream(self) -> impl Stream<Item = Result<SseEvent, Infallible>> {
        stream::unfold(self, async |mut watcher| {
            loop {
                if let Some(event) = watcher.waiting.pop_front() {
                    return Some((Ok(event), watcher));
                }
                if watcher.has_ended {
                    return None;
                }
                watcher.fetch().await;
            }
        })
    }

    /// Waits for events, a moment at most; the stream ends where the client may not watch any more.
    async fn fetch(&mut self) {
        if !self.lasting.may_go_on().await {
            self.has_ended = true;
            return;
        }
        let asked = async {
            // Listening first: what happens while it is asked is not missed.
            let listening = self.feed.listen().await?;
            Ok::<_, keystead_kv::Error>((self.feed.since(Some(self.last)).await?, listening))
        };
        match asked.await {
            Ok((since, listening)) => {
                self.last = since.last;
                if since.events.is_empty() && !since.are_lost {
                    listening.wait(PAUSE).await;
                    // What has expired is told when it is found.
                    let _ = self.lasting.tenant().store().sweep(SWEEP).await;
                } else {
                    self.queue(since.are_lost, since.events);
                }
            }
            // Redis is away: its events come when it is back.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }

    fn queue(&mut self, are_lost: bool, events: Vec<Event>) {
        if are_lost {
            let event = SseEvent::default().event("reset").data("{}").id(self.last.to_string());
            self.waiting.push_back(event);
        }
        let of_prefix = events.into_iter().filter(|event| event.key.starts_with(&self.prefix));
        self.waiting.extend(of_prefix.map(|event| {
            let (name, data) = match event.change {
                Change::Put(version) => ("put", json!({"key": event.key, "version": version})),
                Change::Deleted => ("delete", json!({"key": event.key})),
                Change::Expired => ("expire", json!({"key": event.key})),
            };
            SseEvent::default().event(name).id(event.id.to_string()).data(data.to_string())
        }));
    }
}
