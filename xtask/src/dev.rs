//! `cargo xtask dev`: builds the programs and becomes `keystead-dev`, which serves a folder's Tenants with local
//! processes.

use std::{net::SocketAddr, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use keystead_cluster::packages;

use crate::{
    build::{Profile, binaries},
    root,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of manifests; every Tenant in it is served. The project's examples when left out.
    folder: Option<PathBuf>,
    /// Address of the gateway's API.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    packages::ensure(packages::REDIS)?;
    let built = binaries(&["keystead-dev", "keystead-gateway", "keystead-worker"], Profile::Dev)?;
    let mut dev = Command::new(&built[0]);
    dev.arg("--gateway").arg(&built[1]).arg("--worker").arg(&built[2]);
    dev.arg("--state").arg(root().join("target/dev"));
    dev.args(["--listen", &arguments.listen.to_string()]);
    dev.arg(arguments.folder.clone().unwrap_or_else(|| root().join("examples")));
    // In its place, so that Ctrl-C is answered by the one who ends the processes.
    Err(dev.exec()).context("starting keystead-dev")
}
