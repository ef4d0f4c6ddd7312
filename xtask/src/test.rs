//! `cargo xtask test`: checks, then tests from fast to real. Ends with one line `N passed, N failed`.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use keystead_cluster::{Cluster, leftovers, packages, shell};

use crate::{
    build::{self, Profile, cargo},
    install::{self, Access, NAMESPACE},
    local_cluster,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only what needs no Kubernetes.
    #[arg(long)]
    fast: bool,
    /// Leave the cluster up at the end.
    #[arg(long)]
    keep: bool,
}

/// How many tests and steps passed, and which failed.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    names: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut tally = Tally::default();
    packages::ensure(&[packages::REDIS, packages::CHECKS].concat())?;
    checks(&mut tally);
    tally.cargo_test("fast", cargo().args(["test", "--locked", "--workspace", "--no-fail-fast"]));
    if !arguments.fast {
        if let Err(error) = on_a_cluster(&mut tally, arguments.keep) {
            eprintln!("error: {error:#}");
            tally.fail("the local cluster");
        }
    }
    for name in &tally.names {
        println!("failed: {name}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!(
            "run again what failed: `cargo test -p PACKAGE NAME`; with a cluster: `cargo xtask test --keep`"
        );
    }
    Ok(())
}

fn checks(tally: &mut Tally) {
    tally.step("cargo fmt --check", cargo().args(["fmt", "--all", "--check"]));
    tally.step(
        "clippy",
        cargo().args([
            "clippy",
            "--locked",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--features",
            "keystead-e2e/cluster",
            "--",
            "-D",
            "warnings",
        ]),
    );
}

fn on_a_cluster(tally: &mut Tally, keep: bool) -> Result<()> {
    Cluster::down()?;
    let cluster = local_cluster()?;
    tally.operator(&cluster);
    let installed = install_chart(&cluster);
    match installed {
        Ok(()) => {
            tally.passed += 1;
            tally.cargo_test(
                "scenarios",
                cargo()
                    .env("KUBECONFIG", cluster.kubeconfig())
                    .env("KEYSTEAD_KUBECTL", cluster.tools().path("kubectl"))
                    .args([
                        "test",
                        "--locked",
                        "--package",
                        "keystead-e2e",
                        "--features",
                        "cluster",
                        "--no-fail-fast",
                    ])
                    // Each scenario has Tenants of its own; those that kill the operator are in a binary of their own.
                    .args(["--", "--test-threads", "2"]),
            );
            let access = Access::local(&cluster);
            tally.step(
                "helm uninstall",
                access.helm().args([
                    "uninstall",
                    "keystead",
                    "--namespace",
                    NAMESPACE,
                    "--wait",
                    "--timeout",
                    "2m",
                ]),
            );
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            tally.fail("helm install");
        }
    }
    if keep {
        eprintln!("the cluster is left up: export KUBECONFIG={}", cluster.kubeconfig().display());
        return Ok(());
    }
    Cluster::down()?;
    let left = leftovers();
    ensure!(left.is_empty(), "`down` has left {}", left.join(", "));
    tally.passed += 1;
    Ok(())
}

fn install_chart(cluster: &Cluster) -> Result<()> {
    let images = build::images(Profile::Dev)?;
    install::load(cluster, &images)?;
    let access = Access::local(cluster);
    install::chart(&access, Some(&images.tag), &install::local_values())?;
    // Once more: an upgrade without a change must work as well.
    install::chart(&access, Some(&images.tag), &install::local_values())
}

impl Tally {
    fn fail(&mut self, name: &str) {
        self.failed += 1;
        self.names.push(name.to_owned());
    }

    /// A command that passes or fails as one.
    fn step(&mut self, name: &str, command: &mut Command) {
        let started = Instant::now();
        println!("== {name}");
        if command.stdin(Stdio::null()).status().is_ok_and(|status| status.success()) {
            self.passed += 1;
            println!("   {:.1} s", started.elapsed().as_secs_f64());
        } else {
            self.fail(name);
        }
    }

    /// The operator's own tests on a cluster where no other operator runs.
    fn operator(&mut self, cluster: &Cluster) {
        self.cargo_test(
            "operator on a cluster",
            cargo()
                .env("KEYSTEAD_TEST_KUBECONFIG", cluster.kubeconfig())
                .args([
                    "test",
                    "--locked",
                    "--package",
                    "keystead-operator",
                    "--package",
                    "keystead-crds",
                    "--no-fail-fast",
                ])
                .args(["--test", "life", "--test", "rules"]),
        );
        // They leave the definition behind; the chart brings its own.
        let removed = shell::run(cluster.kubectl().args([
            "delete",
            "crd",
            "tenants.keystead.io",
            "--ignore-not-found",
        ]));
        if let Err(error) = removed {
            eprintln!("error: {error:#}");
            self.fail("removing the definition");
        }
    }

    /// Runs `cargo test`, shows what it prints, and counts by its summary lines.
    fn cargo_test(&mut self, name: &str, command: &mut Command) {
        println!("== {name}");
        let counted = self.count(command).with_context(|| name.to_owned());
        match counted {
            Ok(true) => {}
            Ok(false) => self.fail(name),
            Err(error) => {
                eprintln!("error: {error:#}");
                self.fail(name);
            }
        }
    }

    /// False where the run failed without a test that says so: then it did not compile.
    fn count(&mut self, command: &mut Command) -> Result<bool> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("cargo has no output")?;
        let failed_before = self.failed;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            if let Some(summary) = line.strip_prefix("test result: ") {
                let number = |word: &str| -> u64 {
                    let before = summary.split(word).next().unwrap_or_default();
                    before.split_whitespace().last().and_then(|number| number.parse().ok()).unwrap_or(0)
                };
                self.passed += number(" passed");
                self.failed += number(" failed");
            } else if line.starts_with("test ") && line.ends_with("FAILED") {
                self.names.push(line.trim_start_matches("test ").to_owned());
            }
        }
        std::io::stdout().flush()?;
        Ok(child.wait()?.success() || self.failed > failed_before)
    }
}
