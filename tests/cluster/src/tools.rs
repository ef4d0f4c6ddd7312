//! The programs that are built from Go modules, kept in the cache by a hash of all that they are built from.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::{
    images::hex,
    paths,
    shell::{run, step},
};

struct Tool {
    name: &'static str,
    packages: &'static [&'static str],
    /// Program and its other names.
    programs: &'static [(&'static str, &'static [&'static str])],
    flags: &'static str,
}

/// Needed by no cluster, and larger than all others together.
pub const LOKI: &str = "loki";
const STRIP: &str = "-s -w";

/// In the order in which a run of all tests needs them.
const TOOLS: &[Tool] = &[
    Tool { name: "helm", packages: &["helm.sh/helm/v3/cmd/helm"], programs: &[("helm", &[])], flags: STRIP },
    Tool { name: "linearizability", packages: &["."], programs: &[("linearizability", &[])], flags: STRIP },
    Tool {
        name: "kube",
        packages: &["."],
        programs: &[(
            "kube",
            &[
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            ],
        )],
        flags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3",
    },
    Tool {
        name: "containerd",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
        programs: &[("containerd", &[]), ("containerd-shim-runc-v2", &[]), ("ctr", &[])],
        flags: STRIP,
    },
    Tool {
        name: "etcd",
        packages: &["go.etcd.io/etcd/server/v3"],
        programs: &[("server", &["etcd"])],
        flags: STRIP,
    },
    Tool {
        name: "coredns",
        packages: &["github.com/coredns/coredns"],
        programs: &[("coredns", &[])],
        flags: STRIP,
    },
    Tool {
        name: "metrics-server",
        packages: &["sigs.k8s.io/metrics-server/cmd/metrics-server"],
        programs: &[("metrics-server", &[])],
        flags: STRIP,
    },
    Tool {
        name: "local-path-provisioner",
        packages: &["github.com/rancher/local-path-provisioner"],
        programs: &[("local-path-provisioner", &[])],
        flags: STRIP,
    },
    Tool {
        name: LOKI,
        packages: &["github.com/grafana/loki/v3/cmd/loki"],
        programs: &[("loki", &[])],
        flags: STRIP,
    },
];

/// A folder that holds every program by its name.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Builds what a cluster needs and the cache does not have: some twelve minutes on two cores the first time.
    pub fn ensure() -> Result<Self> {
        Self::only(&names().filter(|name| *name != LOKI).collect::<Vec<_>>())
    }

    /// Builds only these.
    pub fn only(names: &[&str]) -> Result<Self> {
        let go = run(Command::new("go").arg("version"))
            .context("Go 1.26 or newer is needed to build the cluster's programs: install it from go.dev")?;
        let root = paths::cache().join("tools");
        let folder = root.join("bin");
        fs::create_dir_all(&folder)?;
        for tool in TOOLS.iter().filter(|tool| names.contains(&tool.name)) {
            let built = root.join(format!("{}-{}", tool.name, hash(tool, &go)));
            // Tests run at once, on threads and in processes: one builds, the others find what it has built.
            let lock = File::create(root.join(format!("{}.lock", tool.name)))?;
            lock.lock().with_context(|| format!("waiting for whoever builds {}", tool.name))?;
            if !built.exists() {
                step(&format!("building {}", tool.name), || build(tool, &built))?;
            }
            for (program, others) in tool.programs {
                for name in std::iter::once(program).chain(*others) {
                    link(&built.join(program), &folder.join(name))?;
                }
            }
        }
        Ok(Self { folder })
    }

    /// The folder of all programs, for `PATH`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    pub fn command(&self, program: &str) -> Command {
        Command::new(self.path(program))
    }
}

/// All tools, in the order in which a run of all tests needs them: Loki, the largest, comes last.
pub fn names() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().map(|tool| tool.name)
}

fn hash(tool: &Tool, go: &str) -> String {
    let mut hash = Sha256::new();
    let source = paths::tool_source(tool.name);
    for file in ["go.mod", "go.sum", "main.go"] {
        hash.update(fs::read(source.join(file)).unwrap_or_default());
        hash.update([0]);
    }
    for file in further_sources(&source) {
        hash.update(fs::read(file).unwrap_or_default());
        hash.update([0]);
    }
    hash.update(go);
    hash.update(tool.flags);
    hex(&hash.finalize()[..8])
}

/// What is compiled beside `main.go`.
fn further_sources(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut further: Vec<PathBuf> = files
        .filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".go") && !name.ends_with("_test.go") && name != "main.go"
        })
        .collect();
    further.sort();
    further
}

/// Builds beside the place and moves there: what is in the cache is whole.
fn build(tool: &Tool, place: &Path) -> Result<()> {
    let part = place.with_extension("part");
    // What was left by one who was killed.
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part)?;
    let mut command = Command::new("go");
    command
        .current_dir(paths::tool_source(tool.name))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .args(["build", "-trimpath", "-ldflags", tool.flags, "-o"])
        .arg(part.join(""))
        .args(tool.packages);
    run(&mut command)?;
    fs::rename(&part, place)?;
    Ok(())
}

/// Others may be calling the program: the link is replaced as a whole.
fn link(target: &Path, name: &Path) -> Result<()> {
    if fs::read_link(name).is_ok_and(|old| old == target) {
        return Ok(());
    }
    let part = name.with_extension("part");
    let _ = fs::remove_file(&part);
    symlink(target, &part)?;
    fs::rename(&part, name)?;
    Ok(())
}
