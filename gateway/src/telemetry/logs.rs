//! Logs: JSON or text on standard error, with levels that can be changed while the process runs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

/// What is logged: a level for everything, and others for some modules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevels {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// By module, as in `keystead_kv`.
    #[serde(default)]
    pub targets: BTreeMap<String, String>,
}

/// The levels of this process.
#[derive(Debug)]
pub struct Logs {
    current: Mutex<LogLevels>,
    filter: reload::Handle<EnvFilter, Registry>,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl LogLevels {
    /// Of a filter such as `info,keystead_kv=debug`.
    fn parse(filter: &str) -> Self {
        let mut levels = Self { level: "error".into(), targets: BTreeMap::new() };
        for part in filter.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((target, level)) => drop(levels.targets.insert(target.to_owned(), level.to_owned())),
                None => part.clone_into(&mut levels.level),
            }
        }
        levels
    }

    /// The filter, or what is wrong.
    fn filter(&self) -> Result<EnvFilter, String> {
        let check = |level: &String| {
            if LEVELS.contains(&level.as_str()) {
                Ok(())
            } else {
                Err(format!("{level:?} is no level: choose from {}", LEVELS.join(", ")))
            }
        };
        check(&self.level)?;
        let mut text = self.level.clone();
        for (target, level) in &self.targets {
            check(level)?;
            let is_module = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
            if target.is_empty() || !target.bytes().all(is_module) {
                return Err(format!("{target:?} is no module: write it as in keystead_gateway::auth"));
            }
            // Writing into a String cannot fail.
            let _ = write!(text, ",{target}={level}");
        }
        EnvFilter::try_new(&text).map_err(|error| error.to_string())
    }
}

impl Logs {
    /// Begins logging.
    pub fn init(filter: &str, format: LogFormat) -> Result<Self, String> {
        let wrong = |error: String| format!("--log {filter:?}: {error}");
        let layer = EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))?;
        let (layer, handle) = reload::Layer::new(layer);
        let lines = fmt::layer().with_writer(std::io::stderr);
        let lines = match format {
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
            LogFormat::Text => lines.boxed(),
        };
        tracing_subscriber::registry()
            .with(layer)
            .with(lines)
            .try_init()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { current: Mutex::new(LogLevels::parse(filter)), filter: handle })
    }

    pub fn levels(&self) -> LogLevels {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the levels, of this process and until it ends.
    pub fn set_levels(&self, levels: LogLevels) -> Result<(), String> {
        let filter = levels.filter()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter).map_err(|error| error.to_string())?;
        tracing::warn!(level = levels.level, targets = ?levels.targets, "the log levels have been changed");
        *current = levels;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_and_written_back() {
        let levels = LogLevels::parse("info, keystead_kv=debug,hyper=warn");
        assert_eq!((levels.level.as_str(), levels.targets.len()), ("info", 2));
        assert!(levels.filter().is_ok());
        for (level, target, says) in [
            ("loud", None, "\"loud\" is no level: choose from off, error"),
            ("info", Some(("keystead_kv", "all")), "\"all\" is no level"),
            ("info", Some(("a=b", "info")), "is no module"),
        ] {
            let mut levels = LogLevels { level: level.into(), targets: BTreeMap::new() };
            levels.targets.extend(target.map(|(target, level)| (target.to_owned(), level.to_owned())));
            let error = levels.filter().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
