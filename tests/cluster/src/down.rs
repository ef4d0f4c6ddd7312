//! Taking a cluster down: no process, mount, link, rule or cgroup of it is left, also after a crash.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    cluster::{BRIDGE, Cluster},
    paths, processes,
    shell::{run, step, succeeds, wait_for},
    start::ctr,
    tools::Tools,
};

/// In this order: who would start pods again goes first.
const COMPONENTS: &[&str] = &[
    "kubelet",
    "local-path-provisioner",
    "metrics-server",
    "coredns",
    "netpol",
    "proxy",
    "scheduler",
    "controller-manager",
    "apiserver",
    "etcd",
];
/// The last is that of a partition whose test was killed.
const TABLES: &[(&str, &str)] =
    &[("ip", "kube-proxy"), ("ip6", "kube-proxy"), ("inet", "keystead_netpol"), ("inet", "keystead_chaos")];

pub(crate) fn down(state: &Path, tools: &Tools) -> Result<()> {
    if leftovers_of(state).is_empty() && !state.exists() {
        return Ok(());
    }
    step("taking the local cluster down", || {
        let cluster = Cluster { state: state.to_owned(), tools: tools.clone() };
        processes::stop(state, "kubelet", Duration::from_secs(3));
        pods(&cluster);
        for name in COMPONENTS {
            processes::stop(state, name, Duration::from_secs(5));
        }
        processes::stop(state, "containerd", Duration::from_secs(5));
        for pid in strays(state) {
            processes::signal(pid, "KILL");
        }
        wait_for("no process is left", Duration::from_secs(10), || match strays(state)[..] {
            [] => Ok(()),
            ref pids => bail!("processes {pids:?}"),
        })?;
        for mount in mounts(state) {
            succeeds(Command::new("umount").arg("--lazy").arg(&mount));
        }
        succeeds(Command::new("ip").args(["link", "delete", BRIDGE]));
        for (family, table) in TABLES {
            succeeds(Command::new("nft").args(["delete", "table", family, table]));
        }
        for group in cgroups() {
            remove_cgroup(&group);
        }
        if state.exists() {
            fs::remove_dir_all(state)?;
        }
        // kubelet's links to logs that are gone, and CNI's notes of pods that are.
        remove_where(Path::new("/var/log/containers"), |path| {
            fs::read_link(path).is_ok_and(|to| !to.exists())
        });
        remove_where(Path::new("/var/lib/cni/results"), |path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("keystead-"))
        });
        Ok(())
    })?;
    match leftovers_of(state)[..] {
        [] => Ok(()),
        ref left => bail!("the local cluster is down, but this is left: {}", left.join(", ")),
    }
}

/// What a cluster has left behind: nothing, after `down`.
pub fn leftovers() -> Vec<String> {
    leftovers_of(&paths::state())
}

fn leftovers_of(state: &Path) -> Vec<String> {
    let mut left: Vec<String> = strays(state).iter().map(|pid| format!("process {pid}")).collect();
    left.extend(mounts(state).iter().map(|mount| format!("mount {mount}")));
    if succeeds(Command::new("ip").args(["link", "show", BRIDGE])) {
        left.push(format!("link {BRIDGE}"));
    }
    for (family, table) in TABLES {
        if succeeds(Command::new("nft").args(["list", "table", family, table])) {
            left.push(format!("nft table {family} {table}"));
        }
    }
    left.extend(cgroups().iter().map(|group| format!("cgroup {}", group.display())));
    left
}

/// Kills every container while containerd can still clean up behind it.
fn pods(cluster: &Cluster) {
    let Ok(tasks) = run(ctr(cluster).args(["tasks", "ls", "-q"])) else { return };
    for task in tasks.lines() {
        succeeds(ctr(cluster).args(["tasks", "rm", "--force", task]));
    }
    for container in run(ctr(cluster).args(["containers", "ls", "-q"])).unwrap_or_default().lines() {
        succeeds(ctr(cluster).args(["containers", "rm", container]));
    }
}

/// Processes of the cluster that no note names: components and shims by their program, containers by their cgroup.
fn strays(state: &Path) -> Vec<u32> {
    let tools = paths::cache().join("tools");
    let tools = fs::canonicalize(&tools).unwrap_or(tools);
    let mut pids = processes::of_programs(&tools, &format!("{}/", state.display()));
    // A person's own kubectl is none of ours to stop.
    let kubectl =
        |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"kubectl\0"));
    pids.retain(|pid| !kubectl(pid));
    for group in cgroups() {
        members(&group, &mut pids);
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn members(group: &Path, pids: &mut Vec<u32>) {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.path().is_dir() {
            members(&child.path(), pids);
        }
    }
}

/// Mounts below the state folder, the innermost first.
fn mounts(state: &Path) -> Vec<String> {
    let prefix = format!("{}/", state.display());
    let text = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut mounts: Vec<String> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|mount| mount.starts_with(&prefix))
        .map(str::to_owned)
        .collect();
    mounts.reverse();
    mounts
}

/// The kubelet's cgroups, in each hierarchy.
fn cgroups() -> Vec<PathBuf> {
    let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else { return Vec::new() };
    let mut groups: Vec<PathBuf> = hierarchies.flatten().map(|entry| entry.path().join("kubepods")).collect();
    groups.push("/sys/fs/cgroup/kubepods".into());
    groups.retain(|group| group.is_dir());
    // cpu and cpuacct may be two names of one.
    groups.dedup_by_key(|group| fs::canonicalize(&*group).unwrap_or_default());
    groups
}

fn remove_cgroup(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.path().is_dir() {
            remove_cgroup(&child.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn remove_where(folder: &Path, which: impl Fn(&Path) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if which(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
