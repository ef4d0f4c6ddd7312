//! Test executables: built once, all of them with every feature, since another selection would build much anew.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::build::cargo;

/// All that `cargo test` would run.
#[derive(Debug)]
pub(crate) struct Executables(Vec<Executable>);

/// One file of tests, or the tests beside the code of one library or binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    pub(crate) package: String,
    /// `--test x`, `--lib` or `--bin x`
    selection: String,
    path: PathBuf,
    /// Where cargo would start it.
    folder: PathBuf,
}

impl Executables {
    pub(crate) fn build() -> Result<Self> {
        let arguments =
            "test --locked --workspace --all-features --no-run --message-format json-render-diagnostics";
        let output =
            cargo().args(arguments.split(' ')).stderr(Stdio::inherit()).output().context("starting cargo")?;
        ensure!(output.status.success(), "the tests cannot be built");
        let messages = String::from_utf8_lossy(&output.stdout);
        Ok(Self(messages.lines().filter_map(Executable::parse).collect()))
    }

    /// What this selects, taken out.
    pub(crate) fn take(&mut self, select: impl Fn(&Executable) -> bool) -> Vec<Executable> {
        let (taken, rest) = std::mem::take(&mut self.0).into_iter().partition(select);
        self.0 = rest;
        taken
    }

    /// The file of tests with this name, of a package.
    pub(crate) fn take_one(&mut self, package: &str, test: &str) -> Result<Executable> {
        let taken = self.take(|it| it.is(package, test)).pop();
        taken.with_context(|| {
            format!("{package} has no tests/{test}: name it in xtask/src/test.rs as it is now")
        })
    }
}

impl Executable {
    /// Of a line of cargo's.
    fn parse(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            return None;
        }
        let path = message["executable"].as_str()?.into();
        let target = &message["target"];
        let name = target["name"].as_str()?;
        let selection = match target["kind"][0].as_str()? {
            "test" => format!("--test {name}"),
            "bin" => format!("--bin {name}"),
            _ => "--lib".to_owned(),
        };
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
        // `…/operator#keystead-operator@0.1.0`, or `…/xtask#0.1.0` where the folder has the package's name.
        let (place, package) = message["package_id"].as_str()?.rsplit_once('#')?;
        let package = package
            .split_once('@')
            .map_or_else(|| place.rsplit('/').next(), |(name, _)| Some(name))?
            .to_owned();
        Some(Self { package, selection, path, folder })
    }

    pub(crate) fn is(&self, package: &str, test: &str) -> bool {
        self.package == package && self.selection == format!("--test {test}")
    }

    /// Runs its tests, so many at a time.
    pub(crate) fn command(&self, threads: u8) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command.args(["--test-threads", &threads.to_string()]);
        command
    }

    /// The command that a person repeats it with.
    pub(crate) fn again(&self) -> String {
        format!("cargo test --package {} --all-features {}", self.package, self.selection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_told_from_what_else_cargo_says() {
        let line = |kind: &str, name: &str, test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "package_id": "path+file:///tree/tests/chaos#keystead-chaos@0.1.0",
                "manifest_path": "/tree/tests/chaos/Cargo.toml",
                "target": {"kind": [kind], "name": name},
                "profile": {"test": test},
                "executable": "/target/debug/deps/x-1",
            })
            .to_string()
        };
        let parsed = Executable::parse(&line("test", "replicated", true)).unwrap();
        assert!(parsed.is("keystead-chaos", "replicated"));
        assert_eq!(parsed.folder, Path::new("/tree/tests/chaos"));
        assert_eq!(parsed.again(), "cargo test --package keystead-chaos --all-features --test replicated");
        // Where a package's folder has its name, its id has only the version.
        let own = line("lib", "xtask", true)
            .replace("keystead-chaos@0.1.0", "0.1.0")
            .replace("tests/chaos#", "xtask#");
        let parsed = Executable::parse(&own).unwrap();
        assert_eq!((parsed.package.as_str(), parsed.selection.as_str()), ("xtask", "--lib"));
        assert_eq!(Executable::parse(&line("bin", "x", false)), None);
        for other in ["", "Compiling x", r#"{"reason":"build-finished","success":true}"#] {
            assert_eq!(Executable::parse(other), None, "{other}");
        }
    }
}
