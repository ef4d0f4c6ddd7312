//! The levels of the log, which can be changed while the process runs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use keystead_telemetry::{Handle, LogFormat, Traces};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

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
    filter: Handle,
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
    /// Begins logging, and recording spans where there are traces.
    pub fn init(filter: &str, format: LogFormat, traces: Option<&Traces>) -> Result<Self, String> {
        let handle = keystead_telemetry::init(filter, format, traces)?;
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
