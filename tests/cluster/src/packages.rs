//! Debian packages that tests and the local cluster need.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::shell::{run, step, succeeds};

/// For building the workspace: the allocator's C sources come with a Makefile.
pub const BUILD: &[(&str, &str)] = &[("make", "make")];
/// For tests on real Redis processes.
pub const REDIS: &[(&str, &str)] =
    &[("redis-server", "redis-server"), ("redis-sentinel", "redis-sentinel"), ("redis-cli", "redis-tools")];
/// For the benchmarks.
pub const BENCH: &[(&str, &str)] =
    &[("wrk", "wrk"), ("webdis", "webdis"), ("redis-benchmark", "redis-tools")];
/// For the checks of scripts, and to run the examples.
pub const CHECKS: &[(&str, &str)] = &[("shellcheck", "shellcheck"), ("curl", "curl"), ("python3", "python3")];
/// For the local cluster.
pub const CLUSTER: &[(&str, &str)] = &[
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("conntrack", "conntrack"),
    ("socat", "socat"),
    ("buildah", "buildah"),
    ("debootstrap", "debootstrap"),
    ("openssl", "openssl"),
    ("mount", "mount"),
];

/// Installs what is missing as root on Debian or Ubuntu; elsewhere says in one sentence what to install.
pub fn ensure(needs: &[(&str, &str)]) -> Result<()> {
    let missing: BTreeSet<&str> =
        needs.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.iter().copied().collect::<Vec<_>>().join(" ");
    let debian = Path::new("/etc/debian_version").exists();
    let root = run(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !debian || !root {
        bail!(
            "these packages are missing: {list}; install them (on Debian: sudo apt-get install {list}) and run this again"
        );
    }
    step(&format!("installing {list}"), || {
        run(apt().arg("update"))?;
        // A service that the package would start is none of ours: the tests start their own.
        let policy = Path::new("/usr/sbin/policy-rc.d");
        let ours = !policy.exists();
        if ours {
            fs::write(policy, "#!/bin/sh\nexit 101\n")?;
            run(Command::new("chmod").arg("755").arg(policy))?;
        }
        let installed = run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing));
        if ours {
            fs::remove_file(policy)?;
        }
        installed.map(drop)
    })
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_there(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
        || succeeds(Command::new("which").arg(program))
}
