//! `cargo xtask bench`: builds for release and lets the benchmarks run; results go to target/bench.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use clap::Subcommand;
use keystead_cluster::{Cluster, packages};

use crate::{
    build::{Profile, binaries},
    root,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    which: Which,
}

#[derive(Subcommand)]
enum Which {
    /// The gateway beside a bare axum server, webdis and redis-benchmark.
    Gateway {
        /// Passed on: see `keystead-bench gateway --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// What one tenant's dead, stopped or flooded Redis costs it and another; batches; long lists.
    Fairness {
        /// Passed on: see `keystead-bench fairness --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Apply to Ready of a Tenant beside a bare Redis StatefulSet; on the cluster that `up` made.
    Ready {
        /// Passed on: see `keystead-bench ready --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

/// A Python with `FastAPI` and what it needs, in a folder of its own under `target`.
fn fastapi() -> Result<PathBuf> {
    let (folder, requirements) =
        (root().join("target/bench/fastapi"), root().join("tests/bench/fastapi/requirements.txt"));
    let python = folder.join("bin/python");
    if !python.exists() {
        println!("installing FastAPI into {}", folder.display());
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status()?;
        ensure!(made.success(), "python3 -m venv failed: is python3-venv installed?");
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements);
    ensure!(install.status()?.success(), "pip could not install FastAPI");
    Ok(python)
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let out = root().join("target/bench");
    let mut bench = match &arguments.which {
        Which::Gateway { rest } => {
            packages::ensure(&[packages::REDIS, packages::BENCH].concat())?;
            let built = binaries(&["keystead-bench", "keystead-gateway"], Profile::Release)?;
            let mut bench = Command::new(&built[0]);
            bench.arg("gateway").arg("--gateway").arg(&built[1]).arg("--out").arg(out);
            bench.arg("--python").arg(fastapi()?).args(rest);
            bench
        }
        Which::Fairness { rest } => {
            packages::ensure(&[packages::REDIS, packages::BENCH].concat())?;
            let built = binaries(&["keystead-bench", "keystead-gateway"], Profile::Release)?;
            let mut bench = Command::new(&built[0]);
            bench.arg("fairness").arg("--gateway").arg(&built[1]).arg("--out").arg(out).args(rest);
            bench
        }
        Which::Ready { rest } => {
            let cluster = Cluster::attach()?;
            let built = binaries(&["keystead-bench"], Profile::Release)?;
            let mut bench = Command::new(&built[0]);
            bench
                .env("KUBECONFIG", cluster.kubeconfig())
                .env("KEYSTEAD_KUBECTL", cluster.tools().path("kubectl"));
            bench.arg("ready").arg("--out").arg(out).args(rest);
            bench
        }
    };
    ensure!(bench.status()?.success(), "the benchmark failed");
    Ok(())
}
