//! The span of a request, for who traces. It holds neither keys nor values.

use axum::http::{HeaderMap, Method, StatusCode};
use keystead_telemetry::{TARGET, continue_from};
use tracing::{Span, field::Empty};

use crate::tenants::Tenant;

/// A request that may be traced; without a collector none is.
pub(crate) struct RequestSpan(pub(crate) Span);

impl RequestSpan {
    /// `is_believed`: whether the peer's word counts that a trace be sampled.
    pub(crate) fn begin(
        method: &Method,
        endpoint: Option<&str>,
        id: &str,
        headers: &HeaderMap,
        is_believed: bool,
    ) -> Self {
        let span = tracing::info_span!(
            target: TARGET,
            "request",
            otel.name = %format_args!("{method} {}", endpoint.unwrap_or("")),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = %method,
            http.route = endpoint,
            http.response.status_code = Empty,
            keystead.request_id = id,
            keystead.tenant = Empty,
        );
        if let Some(before) = headers.get("traceparent").and_then(|value| value.to_str().ok()) {
            continue_from(&span, before, is_believed);
        }
        Self(span)
    }

    pub(crate) fn end(&self, tenant: Option<&Tenant>, status: StatusCode) {
        if let Some(tenant) = tenant {
            self.0.record("keystead.tenant", tenant.name().as_str());
        }
        self.0.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            self.0.record("otel.status_code", "ERROR");
        }
    }
}
