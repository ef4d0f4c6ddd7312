//! Traces: spans of the target [`TARGET`] are sent by OTLP over HTTP to a collector. Without one nothing is recorded, and a
//! span costs what looking at a flag costs.

use std::collections::HashMap;

use clap::Args;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator as _,
    trace::{Link, SpanContext, SpanKind, TraceContextExt as _, TraceId, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SamplingResult, SdkTracerProvider, ShouldSample},
};
use tracing::{Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

/// The target of spans that are traced; no line of a log has it.
pub const TARGET: &str = "keystead::trace";

/// Where traces go, and how many.
#[derive(Clone, Debug, Args)]
pub struct TracingArguments {
    /// Collector that takes OTLP over HTTP, such as <http://collector:4318>; no traces when left out.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Share of requests and jobs that are traced though nobody before them has begun a trace: 0 to 1.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE", default_value_t = 0.01)]
    pub trace_share: f64,
}

impl TracingArguments {
    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        self.endpoint().is_some()
    }

    fn endpoint(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty())
    }
}

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTracing {
    #[error("--otlp-endpoint {0:?}: write an address such as http://collector:4318")]
    Endpoint(String),
    #[error("--trace-share {0}: a number from 0 to 1")]
    Share(f64),
    #[error("the exporter of traces does not begin: {0}")]
    Exporter(String),
}

/// The way to the collector; what is left is sent when it is shut down.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// None without a collector. `service` is the name by which the process is found.
    pub fn begin(
        service: &'static str,
        arguments: &TracingArguments,
    ) -> Result<Option<Self>, InvalidTracing> {
        let Some(endpoint) = arguments.endpoint() else { return Ok(None) };
        if !(0.0..=1.0).contains(&arguments.trace_share) {
            return Err(InvalidTracing::Share(arguments.trace_share));
        }
        let host = ["http://", "https://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme));
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
            return Err(InvalidTracing::Endpoint(endpoint.to_owned()));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .map_err(|error| InvalidTracing::Exporter(error.to_string()))?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Share(Sampler::TraceIdRatioBased(arguments.trace_share)))
            .with_resource(Resource::builder().with_service_name(service).with_attribute(version).build())
            .build();
        Ok(Some(Self(provider)))
    }

    /// Takes the spans of [`TARGET`].
    pub(crate) fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("keystead"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
            .boxed()
    }

    /// Sends what is left. It may wait for the collector, for five seconds at most.
    pub fn end(&self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// A share of the traces that begin here, all that somebody before has chosen, and of a trace all or nothing.
#[derive(Clone, Debug)]
struct Share(Sampler);

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let known = parent.map(|parent| parent.span().span_context().clone()).filter(SpanContext::is_valid);
        let sampler = match known {
            Some(parent) if parent.is_sampled() => &Sampler::AlwaysOn,
            Some(parent) if !parent.is_remote() => &Sampler::AlwaysOff,
            _ => &self.0,
        };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// Makes a span go on with the trace of a `traceparent` (W3C Trace Context). Where its word is not to be relied on the span begins
/// a trace of its own, which is linked to that: an id of the sender's choice would choose what is sampled.
pub fn continue_from(span: &Span, traceparent: &str, is_believed: bool) {
    if span.is_disabled() {
        return;
    }
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let before = context.span().span_context().clone();
    if !before.is_valid() {
        return;
    }
    if is_believed {
        // It fails only for a span that has begun already or is recorded by nobody.
        let _ = span.set_parent(context);
    } else {
        span.add_link(before);
    }
}

/// The `traceparent` for what comes of the current span; none where nothing is traced.
pub fn traceparent() -> Option<String> {
    let span = Span::current();
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    if !context.span().span_context().is_sampled() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove("traceparent")
}
