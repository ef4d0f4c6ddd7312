//! `cargo xtask bench`: builds what images hold and lets the benchmarks run; results go to target/bench.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

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
    /// Memory of a gateway with a thousand tenants that it knows, and that it is connected to.
    Memory {
        /// Passed on: see `keystead-bench memory --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Queueing and running empty jobs beside redis-benchmark and Huey, also with a million that wait.
    Queue {
        /// Passed on: see `keystead-bench queue --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Export and import of a million entries by the worker, and its memory.
    Bulk {
        /// Passed on: see `keystead-bench bulk --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// What the audit log costs the gateway's reads and writes.
    Audit {
        /// Passed on: see `keystead-bench audit --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Waking one of many tenants that sleep beside the start of a bare Redis pod; on the cluster that `up` made.
    Sleep {
        /// Passed on: see `keystead-bench sleep --help`.
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

/// A Python with what `tests/bench/<name>/requirements.txt` names, in a folder of its own under `target`.
fn python(name: &str) -> Result<PathBuf> {
    let folder = root().join("target/bench").join(name);
    let requirements = root().join("tests/bench").join(name).join("requirements.txt");
    let python = folder.join("bin/python");
    if !python.exists() {
        println!("installing {} into {}", requirements.display(), folder.display());
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status()?;
        ensure!(made.success(), "python3 -m venv failed: is python3-venv installed?");
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements);
    ensure!(install.status()?.success(), "pip could not install what {name} needs");
    Ok(python)
}

/// One that needs the gateway as the images hold it, and the packages that it is compared with.
fn of_gateway(which: &str, out: &Path, rest: &[String]) -> Result<Command> {
    packages::ensure(&[packages::REDIS, packages::BENCH].concat())?;
    let built = binaries(&["keystead-bench", "keystead-gateway"], Profile::Dist)?;
    let mut bench = Command::new(&built[0]);
    bench.arg(which).arg("--gateway").arg(&built[1]).arg("--out").arg(out).args(rest);
    Ok(bench)
}

/// One that needs the cluster that `up` made.
fn on_cluster(which: &str, out: &Path, rest: &[String]) -> Result<Command> {
    let cluster = Cluster::attach()?;
    let built = binaries(&["keystead-bench"], Profile::Release)?;
    let mut bench = Command::new(&built[0]);
    bench.env("KUBECONFIG", cluster.kubeconfig()).env("KEYSTEAD_KUBECTL", cluster.tools().path("kubectl"));
    bench.arg(which).arg("--out").arg(out).args(rest);
    Ok(bench)
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let out = root().join("target/bench");
    let mut bench = match &arguments.which {
        Which::Gateway { rest } => {
            let python = python("fastapi")?;
            let mut bench = of_gateway("gateway", &out, rest)?;
            bench.arg("--python").arg(python);
            bench
        }
        Which::Fairness { rest } => of_gateway("fairness", &out, rest)?,
        Which::Memory { rest } => of_gateway("memory", &out, rest)?,
        Which::Queue { rest } => {
            packages::ensure(&[packages::REDIS, packages::BENCH].concat())?;
            let built = binaries(&["keystead-bench", "keystead-gateway", "keystead-worker"], Profile::Dist)?;
            let mut bench = Command::new(&built[0]);
            bench.arg("queue").arg("--gateway").arg(&built[1]).arg("--worker").arg(&built[2]);
            bench.arg("--out").arg(out).arg("--python").arg(python("huey")?).args(rest);
            bench
        }
        Which::Bulk { rest } => {
            packages::ensure(packages::REDIS)?;
            let built = binaries(&["keystead-bench", "keystead-worker"], Profile::Dist)?;
            let mut bench = Command::new(&built[0]);
            bench.arg("bulk").arg("--worker").arg(&built[1]).arg("--out").arg(out).args(rest);
            bench
        }
        Which::Audit { rest } => of_gateway("audit", &out, rest)?,
        Which::Sleep { rest } => on_cluster("sleep", &out, rest)?,
        Which::Ready { rest } => on_cluster("ready", &out, rest)?,
    };
    ensure!(bench.status()?.success(), "the benchmark failed");
    Ok(())
}
