//! Binaries and images from this tree.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use keystead_cluster::{
    images::{self, Image},
    packages,
    shell::{run, step},
};
use sha2::{Digest as _, Sha256};

use crate::root;

/// Cargo's profiles.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// Optimised, for a cluster of one's own.
    Release,
    /// What the images of a release hold, and what is measured: requests cost less, and the build takes twice as long.
    Dist,
}

impl Profile {
    /// Cargo's name of it, and its folder under the target directory.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Dev => ("dev", "debug"),
            Self::Release => ("release", "release"),
            Self::Dist => ("dist", "dist"),
        }
    }
}

/// The images of this tree and the tag that stands for their content.
pub(crate) struct Images {
    pub(crate) tag: String,
    pub(crate) images: Vec<Image>,
}

pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Builds one binary and gives its path.
pub(crate) fn binary(name: &str, profile: Profile) -> Result<PathBuf> {
    Ok(binaries(&[name], profile)?.remove(0))
}

/// Builds binaries, whose packages have their names, and gives their paths.
pub(crate) fn binaries(names: &[&str], profile: Profile) -> Result<Vec<PathBuf>> {
    packages::ensure(packages::BUILD)?;
    let mut build = cargo();
    let (cargos, folder) = profile.names();
    build.args(["build", "--locked", "--profile", cargos]);
    if profile == Profile::Dev {
        // As the tests build it: another selection of packages would select other features and build all anew.
        build.args(["--workspace", "--bins", "--all-features"]);
    } else {
        for name in names {
            build.args(["--package", name]);
        }
    }
    let status = build.status().context("starting cargo")?;
    ensure!(status.success(), "cargo build of {} failed", names.join(", "));
    let folder = target()?.join(folder);
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// The images of operator and gateway, from binaries built here.
pub(crate) fn images(profile: Profile) -> Result<Images> {
    let names = ["keystead-operator", "keystead-gateway", "keystead-worker"];
    let built = step("binaries of operator, gateway and worker", || binaries(&names, profile))?;
    let staging = root().join("target/image");
    fs::create_dir_all(&staging)?;
    let mut staged = Vec::new();
    let mut hash = Sha256::new();
    for (name, binary) in names.iter().zip(&built) {
        let place = staging.join(name);
        // Nobody debugs in a container, and an image is copied often.
        run(Command::new("strip").arg("-o").arg(&place).arg(binary))?;
        hash.update(fs::read(&place)?);
        staged.push(place);
    }
    let digest =
        hash.finalize()[..6].iter().fold(String::new(), |digest, byte| digest + &format!("{byte:02x}"));
    let tag = format!("{}-{digest}", env!("CARGO_PKG_VERSION"));
    let image = |name: &str, inputs: &[PathBuf]| {
        let file = root().join(format!("Dockerfile.{name}"));
        let full = format!("docker.io/keystead/{name}:{tag}");
        images::build(&full, &file, &root(), inputs, &[("BINARIES", "prebuilt")])
    };
    Ok(Images { images: vec![image("operator", &staged[..1])?, image("gateway", &staged[1..])?], tag })
}

/// `cargo xtask crds`
pub(crate) fn crds() -> Result<()> {
    let status = cargo()
        .env("UPDATE", "1")
        .args(["test", "--quiet", "--package", "keystead-crds", "--test", "yaml"])
        .status()?;
    ensure!(status.success(), "the definition could not be written");
    let copy = root().join("charts/keystead/files/tenants.yaml");
    fs::copy(root().join("crds/yaml/tenants.yaml"), &copy).with_context(|| copy.display().to_string())?;
    Ok(())
}

fn target() -> Result<PathBuf> {
    let metadata = run(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    Ok(Path::new(metadata["target_directory"].as_str().context("cargo metadata names no target")?).to_owned())
}
