//! The outermost layer: request id, metrics, and one form for every error, also those of axum itself and of a panic.

use std::{
    convert::Infallible,
    net::IpAddr,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{Extensions, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::{FutureExt as _, future::BoxFuture};
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument as _;

use crate::{
    Gateway,
    audit::{Record, Touched, Who, operation},
    auth::Principal,
    problem::{Code, Problem},
    telemetry::{Failures, RequestSpan},
    tenants::{Allowance, Tenant, write_allowances},
};

/// What is learned of a request on its way, for its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(Arc<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// The other end of the connection.
    peer: Option<IpAddr>,
    allowances: Mutex<Vec<Allowance>>,
    caller: OnceLock<(Arc<Tenant>, Principal)>,
    /// Of the tenant that it is about, where the caller may not become known.
    failures: OnceLock<Arc<Failures>>,
    audited: Mutex<Audited>,
}

/// What only an audit log asks for.
#[derive(Debug, Default)]
struct Audited {
    /// Whose account somebody has tried who shows no credential, and its name where there is one.
    attempt: Option<(Arc<Tenant>, Option<String>)>,
    touched: Touched,
}

impl Noted {
    /// Of a request that comes from there.
    pub(crate) fn from_peer(peer: IpAddr) -> Self {
        Self(Arc::new(Notes { peer: Some(peer), ..Notes::default() }))
    }

    /// The other end of a request's connection.
    pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>()?.0.peer
    }

    pub(crate) fn add(&self, allowance: Allowance) {
        self.0.allowances.lock().unwrap_or_else(PoisonError::into_inner).push(allowance);
    }

    /// Whose request it is, and who calls.
    pub(crate) fn set_caller(&self, tenant: &Arc<Tenant>, principal: &Principal) {
        // The first that is known stays.
        let _ = self.0.caller.set((tenant.clone(), principal.clone()));
    }

    /// Whose failure it is if it fails before it is known who calls.
    pub(crate) fn set_failures(extensions: &Extensions, failures: &Arc<Failures>) {
        if let Some(noted) = extensions.get::<Self>() {
            let _ = noted.0.failures.set(failures.clone());
        }
    }

    /// Somebody tries to get a credential of a tenant, for the account of this name if there is one. A name that nobody has is not
    /// to be noted: people enter passwords in the wrong field.
    pub(crate) fn set_attempt(extensions: &Extensions, tenant: &Arc<Tenant>, account: Option<&str>) {
        if let Some(noted) = extensions.get::<Self>().filter(|_| tenant.trail().is_some()) {
            noted.audited().attempt = Some((tenant.clone(), account.map(str::to_owned)));
        }
    }

    /// What the request is about.
    pub(crate) fn set_touched(&self, touched: Touched) {
        self.audited().touched = touched;
    }

    fn audited(&self) -> MutexGuard<'_, Audited> {
        self.0.audited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an answer for the audit log of the tenant, if it has one.
    fn audit(&self, method: &Method, endpoint: Option<&str>, status: StatusCode, id: &HeaderValue) {
        let Some(endpoint) = endpoint else { return };
        let attempt;
        let (tenant, who) = if let Some((tenant, principal)) = self.0.caller.get() {
            // Who looks on at one that sleeps is not written down: its log sleeps too.
            if tenant.trail().is_none() || tenant.is_asleep() {
                return;
            }
            (tenant, Who::Principal(principal.clone()))
        } else {
            attempt = self.audited().attempt.take();
            let Some((tenant, account)) = &attempt else { return };
            (tenant, Who::Account(account.clone()))
        };
        if let Some(trail) = tenant.trail() {
            trail.note(Record {
                who,
                operation: operation(method, endpoint),
                touched: std::mem::take(&mut self.audited().touched),
                status: status.as_u16(),
                request_id: id.clone(),
                answered: Instant::now(),
            });
        }
    }

    fn allowances(&self) -> Vec<Allowance> {
        std::mem::take(&mut self.0.allowances.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts a route into [`Finished`].
#[derive(Clone, Debug)]
pub(crate) struct Finish(pub(crate) Arc<Gateway>);

impl<S> Layer<S> for Finish {
    type Service = Finished<S>;

    fn layer(&self, route: S) -> Finished<S> {
        Finished { route, gateway: self.0.clone() }
    }
}

/// A route whose requests are finished here. A service of its own: as a function among axum's middleware it took a thousand
/// instructions more for each.
#[derive(Clone, Debug)]
pub(crate) struct Finished<S> {
    route: S,
    gateway: Arc<Gateway>,
}

impl<S> Service<Request> for Finished<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let endpoint = match request.extensions().get::<MatchedPath>() {
            Some(matched) => Endpoint::Matched(matched.clone()),
            None => Endpoint::None,
        };
        let begun = Begun::new(self.gateway.clone(), &mut request, endpoint);
        let answer = self.route.call(request);
        Box::pin(async move {
            let answer = pin!(answer);
            begun.answered(answer.map(|Ok(response)| response)).await
        })
    }
}

/// The path of a request's route.
pub(crate) enum Endpoint {
    Known(&'static str),
    Matched(MatchedPath),
    None,
}

impl Endpoint {
    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Known(path) => Some(path),
            Self::Matched(matched) => Some(matched.as_str()),
            Self::None => None,
        }
    }
}

/// A request that is being answered.
pub(crate) struct Begun {
    gateway: Arc<Gateway>,
    started: Instant,
    id: HeaderValue,
    method: Method,
    endpoint: Endpoint,
    noted: Noted,
    span: Option<RequestSpan>,
}

impl Begun {
    pub(crate) fn new(gateway: Arc<Gateway>, request: &mut Request, matched: Endpoint) -> Self {
        let started = Instant::now();
        let id = request_id(request);
        let method = request.method().clone();
        let noted = request.extensions_mut().get_or_insert_default::<Noted>().clone();
        let endpoint = matched.as_str();
        // Probes ask every second, and nobody looks for them.
        let is_probe = || endpoint.is_some_and(|endpoint| endpoint.contains("/health"));
        let span = (gateway.is_traced && !is_probe()).then(|| {
            let is_believed = gateway.addresses.trusts(request.extensions());
            RequestSpan::begin(&method, endpoint, id.to_str().unwrap_or(""), request.headers(), is_believed)
        });
        Self { gateway, started, id, method, endpoint: matched, noted, span }
    }

    /// What the client gets of this answer: one that is small, as it is moved about.
    pub(crate) async fn answered(
        self,
        answer: impl Future<Output = Response> + Unpin,
    ) -> Result<Response, Infallible> {
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let answer = match &self.span {
            Some(span) => answer.instrument(span.0.clone()).await,
            None => answer.await,
        };
        Ok(self.finish(answer.ok()))
    }

    /// Without an answer the handler has panicked.
    fn finish(self, answer: Option<Response>) -> Response {
        let Self { gateway, started, id, method, endpoint, noted, span } = self;
        let endpoint = endpoint.as_str();
        let mut response = answer.unwrap_or_else(|| {
            tracing::error!(request_id = ?id, "a handler panicked");
            Problem::new(Code::Internal, "the gateway failed: report the instance to its operators")
                .into_response()
        });
        if response.status().is_client_error() || response.status().is_server_error() {
            response = as_problem(&response, id.to_str().unwrap_or(""));
        }
        let (status, took) = (response.status(), started.elapsed());
        if let Some(span) = span {
            span.end(noted.0.caller.get().map(|(tenant, _)| &**tenant), status);
        }
        gateway.metrics.requests.observe(&method, endpoint, status, took);
        noted.audit(&method, endpoint, status, &id);
        let caller = noted.0.caller.get();
        let failures = caller.map(|(tenant, _)| &tenant.failures).or(noted.0.failures.get());
        if gateway.access.takes(status, failures.map(|failures| &**failures)) {
            // The path is that of the route: a key may be a secret of its tenant.
            tracing::info!(
                target: "access",
                request_id = id.to_str().unwrap_or(""),
                tenant = caller.map(|(tenant, _)| tenant.name().as_str()),
                principal = caller.map(|(_, principal)| principal.name()).as_deref(),
                %method,
                endpoint,
                status = status.as_u16(),
                took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                "answered"
            );
        }
        let allowances = noted.allowances();
        if !allowances.is_empty() {
            write_allowances(response.headers_mut(), &allowances);
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
}

/// The same for what is no part of the API, and is neither counted nor logged.
pub(crate) async fn finish_plainly(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let mut response = next.run(request).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        response = as_problem(&response, id.to_str().unwrap_or(""));
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The client's id where it is a short printable word, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    request.headers().get(REQUEST_ID).filter(usable).cloned().unwrap_or_else(new_id)
}

/// 32 hexadecimal digits: a number of this process' own, and one that is raised. It is unique, and no secret.
fn new_id() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| uuid::Uuid::new_v4().as_u64_pair().0);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let numbers = (u128::from(*PROCESS) << 64) | u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let mut buffer = uuid::Uuid::encode_buffer();
    let id = uuid::Uuid::from_u128(numbers).simple().encode_lower(&mut buffer);
    // Hexadecimal digits are a valid header value.
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("none"))
}

fn as_problem(response: &Response, id: &str) -> Response {
    if let Some(problem) = response.extensions().get::<Problem>() {
        return problem.render(id);
    }
    // Made by axum: it knows the status and not our words.
    let problem = match response.status() {
        StatusCode::NOT_FOUND => {
            Problem::new(Code::RouteUnknown, "the API begins with /api/v1 or /t/<tenant>/api/v1")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(Code::MethodNotAllowed, "the header Allow names the methods of this path")
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, "the body is too large"),
        StatusCode::INTERNAL_SERVER_ERROR => Problem::new(Code::Internal, "the gateway failed"),
        _ => Problem::new(Code::BadRequest, "the path or the query is malformed: percent-encode UTF-8"),
    };
    let mut rendered = problem.render(id);
    if let Some(allow) = response.headers().get(axum::http::header::ALLOW) {
        rendered.headers_mut().insert(axum::http::header::ALLOW, allow.clone());
    }
    rendered
}
