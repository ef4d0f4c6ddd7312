//! What processes tell of themselves: lines of a log, and traces by OTLP. No HTTP server, no Redis, no Kubernetes.

mod logs;
mod traces;

pub use logs::{Handle, LogFormat, init};
pub use traces::{InvalidTracing, TARGET, Traces, TracingArguments, continue_from, traceparent};
