//! Lines of the log on standard error.

use clap::ValueEnum;
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::{FilterExt as _, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

use crate::{TARGET, Traces};

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// Changes what is logged.
pub type Handle = reload::Handle<EnvFilter, Registry>;

/// Begins logging, and recording spans where there are traces. `filter` is `info`, `debug`, or such as
/// `keystead_gateway=debug,warn`.
pub fn init(filter: &str, format: LogFormat, traces: Option<&Traces>) -> Result<Handle, String> {
    let wrong = |error: String| format!("--log {filter:?}: {error}");
    let levels = EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))?;
    let (levels, handle) = reload::Layer::new(levels);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    let is_no_span_of_a_trace = filter_fn(|metadata| metadata.target() != TARGET);
    let lines = tracing_subscriber::registry().with(lines.with_filter(levels.and(is_no_span_of_a_trace)));
    // A layer that is `None` would have no filter, and so want every span.
    let begun = match traces {
        Some(traces) => lines.with(traces.layer()).try_init(),
        None => lines.try_init(),
    };
    begun.map_err(|error| wrong(error.to_string()))?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_traces_their_spans_are_not_even_begun() {
        init("info", LogFormat::Text, None).unwrap();
        assert!(tracing::info_span!(target: TARGET, "request").is_disabled());
        assert!(tracing::enabled!(tracing::Level::INFO) && !tracing::enabled!(tracing::Level::DEBUG));
    }
}
