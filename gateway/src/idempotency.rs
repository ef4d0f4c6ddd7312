//! `Idempotency-Key`: a request that is repeated with the same key is carried out once.
//! (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>)

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use keystead_kv::idempotency::{self, Answer, Known};
use keystead_route::hex;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::{
    auth::Caller,
    problem::{Code, Problem},
    tenants::Tenant,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY_BYTES: usize = 255;
/// What of an answer is given again.
const HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];

/// How long a request that was not carried out is tried to be forgotten, and how long after the first and any later try the next
/// one follows.
const FORGETS_FOR: Duration = Duration::from_mins(2);
const FORGETS_FIRST: Duration = Duration::from_millis(100);
const FORGETS_EVERY: Duration = Duration::from_secs(5);

/// The key of a request; none where it has none.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let usable = |key: &&str| {
        (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    };
    let wrong = || {
        let detail = format!("Idempotency-Key: 1 to {MAX_KEY_BYTES} printable ASCII characters");
        Problem::new(Code::Invalid, detail)
    };
    value.to_str().ok().filter(usable).map(Some).ok_or_else(wrong)
}

/// A request that its client has given a key.
pub(crate) struct Attempt {
    tenant: Arc<Tenant>,
    id: String,
    fingerprint: String,
}

impl Attempt {
    /// None where the request has no key.
    pub(crate) fn of(
        caller: &Caller,
        headers: &HeaderMap,
        uri: &Uri,
        body: &[u8],
    ) -> Result<Option<Self>, Problem> {
        let Some(key) = key(headers)? else { return Ok(None) };
        // A path has two forms: both are the same request.
        let path = uri.path().find("/api/v1/").map_or(uri.path(), |at| &uri.path()[at..]);
        Ok(Some(Self {
            tenant: caller.tenant.clone(),
            id: hash(&[caller.principal.name().as_bytes(), path.as_bytes(), key.as_bytes()]),
            fingerprint: hash(&[body]),
        }))
    }

    async fn carry_out(
        self,
        work: impl Future<Output = Result<Response, Problem>>,
    ) -> Result<Response, Problem> {
        let requests = self.tenant.requests();
        let attempt = requests.attempt(self.id, self.fingerprint)?;
        let known = match requests.begin(&attempt).await {
            Ok(known) => known,
            Err(error) => {
                let problem = Problem::from(error);
                if !problem.leaves_all_as_it_was() {
                    forget(self.tenant, attempt, Left::Perhaps);
                }
                return Err(problem);
            }
        };
        match known {
            Known::New => {}
            Known::Begun => {
                return Err(Problem::new(
                    Code::IdempotencyUnknown,
                    "a request with this Idempotency-Key is under way, or what came of it is not known: \
                     look at what it would have changed",
                ));
            }
            Known::Other => {
                return Err(Problem::new(
                    Code::IdempotencyKeyReused,
                    "there was a request with this Idempotency-Key and another body: take a new key",
                ));
            }
            Known::Answered(answer) => return Ok(replay(answer)),
        }
        match work.await {
            Ok(response) => {
                let (response, answer) = remember(response).await?;
                if let Err(error) = requests.end(&attempt, answer).await {
                    // Carried out it is; a repetition is told that nobody knows.
                    tracing::warn!(tenant = %self.tenant.name(), %error, "an answer is not remembered");
                }
                Ok(response)
            }
            Err(problem) => {
                if problem.leaves_all_as_it_was() && requests.forget(&attempt).await.is_err() {
                    forget(self.tenant, attempt, Left::Surely);
                }
                Err(problem)
            }
        }
    }
}

/// Whether Redis has kept an attempt at a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Surely,
    /// It may also be on its way there still.
    Perhaps,
}

/// Forgets a request of which nothing was carried out, as soon as its Redis can be reached: who asks again is not to be told for a
/// day that nobody knows.
fn forget(tenant: Arc<Tenant>, attempt: idempotency::Attempt, left: Left) {
    let trying = async move {
        let Some(_slot) = tenant.forgetting() else {
            tracing::warn!(tenant = %tenant.name(), "too many requests are to be forgotten: one is not");
            return;
        };
        let (requests, begun) = (tenant.requests(), Instant::now());
        let mut wait = FORGETS_FIRST;
        let mut last = None;
        while begun.elapsed() < FORGETS_FOR {
            sleep(wait).await;
            match requests.forget(&attempt).await {
                Ok(was_there) if was_there || left == Left::Surely => return,
                answer => last = answer.err(),
            }
            wait = (wait * 2).min(FORGETS_EVERY);
        }
        if let Some(error) = last {
            tracing::warn!(tenant = %tenant.name(), %error, "a request that was not carried out is not forgotten");
        }
    };
    tokio::spawn(trying.in_current_span());
}

/// Carries a request out, unless one with its key was before: then its answer is given again.
pub(crate) async fn once(
    attempt: Option<Attempt>,
    work: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    let Some(attempt) = attempt else { return work.await };
    // A client that hangs up is the one that will ask again: the answer must be there then.
    match tokio::spawn(attempt.carry_out(work).in_current_span()).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "a request with an Idempotency-Key failed");
            Err(Problem::new(Code::Internal, "the gateway failed: report the instance to its operators"))
        }
    }
}

/// SHA-256 of several texts, kept apart.
fn hash(parts: &[&[u8]]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hex(context.finish().as_ref())
}

async fn remember(response: Response) -> Result<(Response, Answer), Problem> {
    let (parts, body) = response.into_parts();
    let wrong = |_| Problem::new(Code::Internal, "an answer could not be remembered");
    let bytes = to_bytes(body, usize::MAX).await.map_err(wrong)?;
    let headers = HEADERS
        .iter()
        .filter_map(|name| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.to_owned())))
        .collect();
    let answer =
        Answer { status: parts.status.as_u16(), headers, body: String::from_utf8_lossy(&bytes).into_owned() };
    Ok((Response::from_parts(parts, Body::from(bytes)), answer))
}

fn replay(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
