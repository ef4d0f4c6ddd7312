//! Every error that a client can see: RFC 9457 problem documents with a stable `code`.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use keystead_kv::{Corrupt, Error, limits::Invalid};
use serde_json::json;

/// An error as the client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) detail: Cow<'static, str>,
    /// Seconds.
    retry_after: Option<u64>,
}

macro_rules! codes {
    ($($name:ident = $status:ident $word:literal $title:literal;)*) => {
        /// The stable words of errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code { $($name),* }

        impl Code {
            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    BadRequest = BAD_REQUEST "bad_request" "The request is malformed";
    MissingToken = UNAUTHORIZED "missing_token" "A credential is needed";
    InvalidToken = UNAUTHORIZED "invalid_token" "The credential is not valid";
    WrongCredentials = UNAUTHORIZED "wrong_credentials" "User name or password is wrong";
    WrongTenant = FORBIDDEN "wrong_tenant" "The credential is of another tenant";
    MissingScope = FORBIDDEN "missing_scope" "The credential does not allow this";
    KeyForbidden = FORBIDDEN "key_forbidden" "The API key is not for this key";
    SignUpClosed = FORBIDDEN "sign_up_closed" "This tenant makes no accounts on request";
    SignUpFull = FORBIDDEN "sign_up_full" "This installation makes no more tenants";
    TenantSuspended = FORBIDDEN "tenant_suspended" "The tenant is suspended";
    TenantUnknown = NOT_FOUND "tenant_unknown" "There is no such tenant";
    KeyNotFound = NOT_FOUND "key_not_found" "There is no such key";
    ApiKeyNotFound = NOT_FOUND "api_key_not_found" "There is no such API key";
    JobNotFound = NOT_FOUND "job_not_found" "There is no such job";
    ScheduleNotFound = NOT_FOUND "schedule_not_found" "There is no such schedule";
    RouteUnknown = NOT_FOUND "route_unknown" "There is no such path";
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed" "The path does not take this method";
    Timeout = REQUEST_TIMEOUT "request_timeout" "The request came too slowly";
    KeyExists = CONFLICT "key_exists" "The key exists";
    AccountExists = CONFLICT "account_exists" "The account exists";
    TooManyApiKeys = CONFLICT "too_many_api_keys" "There are too many API keys";
    TooManySchedules = CONFLICT "too_many_schedules" "There are too many schedules";
    NotANumber = CONFLICT "not_a_number" "The value is not a whole number";
    NumberTooLarge = CONFLICT "number_too_large" "The number would be too large";
    NotJson = CONFLICT "not_json" "The value is not JSON";
    IdempotencyUnknown = CONFLICT "idempotency_unknown" "What came of the first request is not known";
    JobState = CONFLICT "job_state" "The job is not in a state for this";
    ConditionFailed = PRECONDITION_FAILED "condition_failed" "The condition does not hold";
    TooLarge = PAYLOAD_TOO_LARGE "too_large" "The value is too large";
    WrongContentType = UNSUPPORTED_MEDIA_TYPE "wrong_content_type" "The content type is not supported";
    Invalid = UNPROCESSABLE_ENTITY "invalid" "A field is not valid";
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "idempotency_key_reused" "The key was used for another request";
    WeakPassword = UNPROCESSABLE_ENTITY "weak_password" "The password is too weak";
    TooManyAttempts = TOO_MANY_REQUESTS "too_many_attempts" "Too many attempts to log in";
    TooManySignUps = TOO_MANY_REQUESTS "too_many_sign_ups" "Too many tenants were asked for";
    RateLimited = TOO_MANY_REQUESTS "rate_limited" "A rate is exceeded";
    QueueFull = TOO_MANY_REQUESTS "queue_full" "The tenant's queue is full";
    NotReady = SERVICE_UNAVAILABLE "not_ready" "The gateway is not ready";
    TooBusy = SERVICE_UNAVAILABLE "too_busy" "Too many requests are under way";
    SignUpUnavailable = SERVICE_UNAVAILABLE "sign_up_unavailable" "No tenant can be made at the moment";
    TenantWaking = SERVICE_UNAVAILABLE "tenant_waking" "The tenant was asleep and is being woken";
    RedisUnavailable = SERVICE_UNAVAILABLE "redis_unavailable" "The tenant's Redis is not available";
    EncryptionKeyUnknown = SERVICE_UNAVAILABLE "encryption_key_unknown" "The value's encryption key is not known here";
    IssuerUnavailable = SERVICE_UNAVAILABLE "issuer_unavailable" "The token's issuer is not available";
    OutcomeUnknown = SERVICE_UNAVAILABLE "outcome_unknown" "Whether the write happened is not known";
    NotWithCluster = NOT_IMPLEMENTED "not_with_cluster" "The tenant's topology does not have this";
    DeadlineExceeded = GATEWAY_TIMEOUT "deadline_exceeded" "The tenant's Redis did not answer in time";
    StorageFull = INSUFFICIENT_STORAGE "storage_full" "The tenant's Redis is full";
    TooManyKeys = INSUFFICIENT_STORAGE "too_many_keys" "The tenant has too many keys";
    Internal = INTERNAL_SERVER_ERROR "internal" "The gateway failed";
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let code_is_transient = code.status() == StatusCode::SERVICE_UNAVAILABLE;
        Self { code, detail: detail.into(), retry_after: code_is_transient.then_some(1) }
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Whether it is certain that the request has changed nothing.
    pub(crate) fn leaves_all_as_it_was(&self) -> bool {
        !matches!(self.code, Code::OutcomeUnknown | Code::DeadlineExceeded | Code::Internal)
    }

    /// What one of a batch says of its error.
    pub(crate) fn brief(&self) -> String {
        json!({"code": self.code.word(), "title": self.code.title(), "detail": self.detail}).to_string()
    }

    /// The document, with the request's id as the instance.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let body = json!({
            "type": format!("urn:keystead:problem:{}", self.code.word()),
            "title": self.code.title(),
            "status": self.code.status().as_u16(),
            "detail": self.detail,
            "instance": request_id,
            "code": self.code.word(),
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// A carrier: `finish` turns it into the document, because only there the request's id is known.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Unavailable(_) => Code::RedisUnavailable,
            Error::OutcomeUnknown => Code::OutcomeUnknown,
            Error::DeadlineExceeded => Code::DeadlineExceeded,
            Error::Full => Code::StorageFull,
            Error::TooManyKeys => Code::TooManyKeys,
            Error::QueueFull => Code::QueueFull,
            Error::Contended => Code::TooBusy,
            Error::Corrupt(Corrupt::UnknownKey) => Code::EncryptionKeyUnknown,
            Error::Corrupt(_) | Error::Refused(_) => {
                tracing::error!(%error, "a store failed");
                Code::Internal
            }
        };
        let problem = Self::new(code, error.to_string());
        // Jobs leave a queue one by one: who waits a little finds room.
        if code == Code::QueueFull { problem.retry_after(5) } else { problem }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::new(Code::Invalid, invalid.to_string())
    }
}
