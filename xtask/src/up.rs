//! `cargo xtask up`: from nothing to a key read back and a job done.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use keystead_cluster::{
    Cluster,
    shell::{step, succeeds},
};

use crate::{
    build::{self, Profile},
    install,
    install::Access,
    local_cluster, root, tour,
};

const KIND: &str = "keystead";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A context of your kubeconfig; without it a cluster is made. Its nodes must reach the images that the values name.
    #[arg(long)]
    context: Option<String>,
    /// Values for the chart, beside or instead of examples/values-local.yaml.
    #[arg(long = "values", value_name = "FILE")]
    values: Vec<String>,
    /// Profile of the binaries in the images of a local cluster.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let access = if let Some(context) = &arguments.context {
        let access = Access::context(context);
        run_kubectl(&access, &["get", "--raw", "/readyz"]).with_context(|| {
            format!("the context {context:?} does not answer: see `kubectl config get-contexts`")
        })?;
        install::chart(&access, None, &arguments.values)?;
        access
    } else if docker_answers() {
        kind(arguments)?
    } else {
        let cluster = local_cluster()?;
        let images = build::images(arguments.profile)?;
        install::load(&cluster, &images)?;
        let access = Access::local(&cluster);
        install::chart(
            &access,
            Some(&images.tag),
            &[install::local_values(), arguments.values.clone()].concat(),
        )?;
        access
    };
    tour::tour(&access)
}

pub(crate) fn down() -> Result<()> {
    if docker_answers() && succeeds(Command::new("kind").args(["get", "kubeconfig", "--name", KIND])) {
        step("kind delete cluster", || {
            keystead_cluster::shell::run(Command::new("kind").args(["delete", "cluster", "--name", KIND]))
                .map(drop)
        })?;
    }
    Cluster::down()
}

fn run_kubectl(access: &Access, arguments: &[&str]) -> Result<String> {
    keystead_cluster::shell::run(access.kubectl().args(arguments))
}

fn docker_answers() -> bool {
    succeeds(Command::new("docker").arg("info"))
}

/// Untried: no machine that tests this tree reaches kind's node images. Kept as thin as it can be.
fn kind(arguments: &Arguments) -> Result<Access> {
    eprintln!("a Docker engine answers: a kind cluster is made (this way is untried)");
    if !succeeds(Command::new("kind").arg("version")) {
        bail!("kind is not installed: see kind.sigs.k8s.io, or give --context NAME");
    }
    if !succeeds(Command::new("kind").args(["get", "kubeconfig", "--name", KIND])) {
        keystead_cluster::shell::run(
            Command::new("kind").args(["create", "cluster", "--name", KIND, "--wait", "2m"]),
        )?;
    }
    let tag = env!("CARGO_PKG_VERSION");
    for name in ["operator", "gateway"] {
        let image = format!("docker.io/keystead/{name}:{tag}");
        step(&format!("docker build {image}"), || {
            let file = format!("Dockerfile.{name}");
            let mut docker = Command::new("docker");
            docker.current_dir(root()).args(["build", "--file", &file, "--tag", &image, "."]);
            keystead_cluster::shell::run(&mut docker)?;
            let mut load = Command::new("kind");
            keystead_cluster::shell::run(load.args(["load", "docker-image", &image, "--name", KIND]))
                .map(drop)
        })?;
    }
    let access = Access::context(&format!("kind-{KIND}"));
    install::chart(&access, Some(tag), &[install::local_values(), arguments.values.clone()].concat())?;
    Ok(access)
}
