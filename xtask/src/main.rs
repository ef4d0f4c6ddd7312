//! `cargo xtask`: what a person or CI does with this tree, one word each.

mod ahead;
mod bench;
mod build;
mod dev;
mod executables;
mod install;
mod machine;
mod tally;
mod test;
mod tour;
mod up;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use keystead_cluster::Cluster;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What a person or CI does with this tree")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A cluster, the chart, a Tenant, a key written and read, a job done.
    Up(up::Arguments),
    /// Takes down what `up` made.
    Down,
    /// Without Kubernetes: Redis, gateway and worker as processes for the Tenants of a folder, until Ctrl-C.
    Dev(dev::Arguments),
    /// Every test; ends with `N passed, N failed`.
    Test(test::Arguments),
    /// Builds the programs of the local cluster and of the tests that the cache does not have: half an hour the first time.
    Tools(ahead::Arguments),
    /// Benchmarks side by side; ratios, not absolutes.
    Bench(bench::Arguments),
    /// Writes crds/yaml and the chart's copy from the types.
    Crds,
}

fn main() -> ExitCode {
    let success = |()| ExitCode::SUCCESS;
    let result = match Arguments::parse().command {
        Command::Up(arguments) => up::run(&arguments).map(success),
        Command::Down => up::down().map(success),
        Command::Dev(arguments) => dev::run(&arguments).map(success),
        Command::Test(arguments) => test::run(&arguments),
        Command::Tools(arguments) => ahead::run(&arguments).map(success),
        Command::Bench(arguments) => bench::run(&arguments).map(success),
        Command::Crds => build::crds().map(success),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The root of the tree.
fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// The local cluster with its enforcer of NetworkPolicies.
fn local_cluster() -> Result<Cluster> {
    let netpol = build::binary("keystead-netpol", build::Profile::Dev)?;
    Cluster::up(&keystead_cluster::Options { netpol: Some(netpol) })
}
