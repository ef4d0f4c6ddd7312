//! A running cluster: brought up, found again, asked, taken down.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    addons, down, images, packages, paths, pki, processes,
    shell::{run, step, succeeds, wait_for},
    start,
    tools::Tools,
};

/// The node's address, on the bridge that pods are on.
pub(crate) const ADDRESS: &str = "10.244.0.1";
pub(crate) const BRIDGE: &str = "keystead0";
pub(crate) const PODS: &str = "10.244.0.0/24";
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The first address of the Services.
pub(crate) const APISERVER_SERVICE: &str = "10.96.0.1";

/// What a cluster is made with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The binary of `keystead-netpol`; without it NetworkPolicies are accepted and not enforced.
    pub netpol: Option<PathBuf>,
}

/// A running cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) state: PathBuf,
    pub(crate) tools: Tools,
}

impl Cluster {
    /// Brings a cluster up, or finds the one that runs.
    pub fn up(options: &Options) -> Result<Self> {
        packages::ensure(packages::CLUSTER)?;
        if !run(Command::new("id").arg("-u"))?.trim().eq("0") {
            bail!("the local cluster needs root: it makes network links, mounts and cgroups");
        }
        let tools = Tools::ensure()?;
        let cluster = Self { state: paths::state(), tools };
        if cluster.is_running() {
            eprintln!("the cluster runs already: {}", cluster.state.display());
            if let Some(netpol) = &options.netpol
                && processes::pid(&cluster.state, "netpol").is_none()
            {
                start::netpol(&cluster, netpol)?;
            }
            return Ok(cluster);
        }
        // Whatever a crash has left would be in the way.
        down::down(&cluster.state, &cluster.tools)?;
        let images = images::base_images()?;
        let started = Instant::now();
        for folder in ["etc/cni", "log", "pid", "pki", "volumes"] {
            fs::create_dir_all(cluster.state.join(folder))?;
        }
        step("certificates", || pki::ensure(&cluster.state))?;
        step("network", network)?;
        step("etcd and apiserver", || start::control_plane(&cluster))?;
        step("containerd", || start::containerd(&cluster))?;
        for image in &images {
            images::load(&cluster, image)?;
        }
        step("kubelet and kube-proxy", || start::node(&cluster))?;
        if let Some(netpol) = &options.netpol {
            start::netpol(&cluster, netpol)?;
        }
        step("addons", || addons::start(&cluster))?;
        step("node ready", || {
            wait_for("the node is ready", Duration::from_mins(1), || {
                let ready = "--for=condition=Ready";
                run(cluster.kubectl().args(["wait", ready, "node/node", "--timeout=2s"])).map(drop)
            })
        })?;
        step("default service account", || {
            wait_for("the service account", Duration::from_mins(1), || {
                run(cluster.kubectl().args(["get", "serviceaccount", "default", "-n", "default"])).map(drop)
            })
        })?;
        eprintln!("the cluster is up after {:.1} s", started.elapsed().as_secs_f64());
        eprintln!("  export KUBECONFIG={}", cluster.kubeconfig().display());
        Ok(cluster)
    }

    /// The cluster that runs.
    pub fn attach() -> Result<Self> {
        let cluster = Self { state: paths::state(), tools: Tools::ensure()? };
        if !cluster.is_running() {
            bail!("no local cluster runs: `cargo xtask up` makes one");
        }
        Ok(cluster)
    }

    /// Takes the cluster down with all that it made; also what a crash has left.
    pub fn down() -> Result<()> {
        let state = paths::state();
        if !state.exists() && down::leftovers().is_empty() {
            return Ok(());
        }
        down::down(&state, &Tools::only(&["containerd"])?)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("etc/admin.conf")
    }

    /// The folder of kubectl, helm and the others.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// kubectl on this cluster.
    pub fn kubectl(&self) -> Command {
        let mut command = self.tools.command("kubectl");
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// helm on this cluster.
    pub fn helm(&self) -> Command {
        let mut command = self.tools.command("helm");
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// The process with which a container begins, as the node numbers it; `id` as in a pod's status.
    pub fn container_pid(&self, id: &str) -> Result<u32> {
        let id = id.strip_prefix("containerd://").unwrap_or(id);
        let tasks = run(start::ctr(self).args(["tasks", "ls"]))?;
        let task = tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let pid =
            task.filter(|words| words.first() == Some(&id)).find_map(|words| words.get(1)?.parse().ok());
        pid.with_context(|| format!("containerd runs no container {id}"))
    }

    /// Gives an image that the cluster has another name.
    pub fn tag_image(&self, image: &str, name: &str) -> Result<()> {
        run(start::ctr(self).args(["images", "tag", "--force", image, name])).map(drop)
    }

    /// Kills the kubelet and starts another; pods go on meanwhile.
    pub fn restart_kubelet(&self) -> Result<()> {
        let Some(pid) = processes::pid(&self.state, "kubelet") else { bail!("no kubelet runs") };
        processes::signal(pid, "KILL");
        wait_for("the kubelet is gone", Duration::from_secs(10), || {
            if processes::pid(&self.state, "kubelet") == Some(pid) {
                bail!("process {pid}");
            }
            Ok(())
        })?;
        start::kubelet(self)
    }

    /// A busy cluster may be slow to answer: it is asked for a while before it is given up.
    fn is_running(&self) -> bool {
        let lives = |name| processes::pid(&self.state, name).is_some();
        if !lives("kubelet") || !lives("apiserver") {
            return false;
        }
        let ready = || run(self.kubectl().args(["get", "--raw", "/readyz"])).map(drop);
        wait_for("the apiserver answers", Duration::from_secs(20), ready).is_ok()
    }
}

/// The bridge that pods and the node share; whatever else uses its name or its addresses is named.
fn network() -> Result<()> {
    let routes = run(Command::new("ip").args(["-4", "route", "show", "root", PODS]))?;
    if let Some(route) = routes.lines().find(|route| !route.contains(BRIDGE)) {
        bail!("the addresses {PODS} are in use ({}): the local cluster needs them", route.trim());
    }
    if !succeeds(Command::new("ip").args(["link", "show", BRIDGE])) {
        run(Command::new("ip").args(["link", "add", BRIDGE, "type", "bridge"]))?;
        run(Command::new("ip").args(["addr", "add", &format!("{ADDRESS}/24"), "dev", BRIDGE]))?;
    }
    run(Command::new("ip").args(["link", "set", BRIDGE, "up"]))?;
    for (key, value) in [("net/ipv4/ip_forward", "1"), ("net/bridge/bridge-nf-call-iptables", "1")] {
        let path = format!("/proc/sys/{key}");
        fs::write(&path, value)
            .with_context(|| format!("{path}: is the kernel's bridge filter (br_netfilter) there?"))?;
    }
    Ok(())
}
