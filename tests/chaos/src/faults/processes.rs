//! Signals to processes in containers, found by the container's id: the node sees every process.

use std::{fs, path::Path, process::Command};

use keystead_e2e::{eventually, within};

use super::{PATIENCE, Site};
use crate::members::Pod;

/// SIGKILL to this container's process in each of the pods; waits until the kubelet has started others. It takes its
/// time where it has done so before.
pub(super) fn kill(site: &Site, pods: &[Pod], container: &str) {
    let processes: Vec<u32> = pods.iter().map(|pod| process(site, pod, container)).collect();
    for process in processes {
        signal(process, "-KILL");
    }
    for pod in pods {
        let before = pod.container_id(container);
        within(PATIENCE, "the container is started again", || {
            let now = site.members.pod(&pod.name)?;
            if now.container_id(container) == before { Err(now.object["status"].to_string()) } else { Ok(()) }
        });
    }
}

/// A process that is stopped until this is dropped.
#[derive(Debug)]
pub(super) struct Stopped {
    pid: u32,
}

impl Stopped {
    pub(super) fn new(site: &Site, pod: &Pod, container: &str) -> Self {
        let stopped = Self { pid: process(site, pod, container) };
        signal(stopped.pid, "-STOP");
        stopped
    }

    /// Waits until somebody else has killed it; it never runs again.
    pub(super) fn until_it_is_killed(self) {
        eventually("the stopped process is killed", || {
            if Path::new("/proc").join(self.pid.to_string()).exists() { Err(self.pid) } else { Ok(()) }
        });
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may be gone: the kubelet kills what does not answer.
        let _ = Command::new("kill").args(["-CONT", &self.pid.to_string()]).output();
    }
}

/// Redis or Sentinel in a container, which may have been started by a shell there.
fn process(site: &Site, pod: &Pod, container: &str) -> u32 {
    let id = pod.container_id(container).expect("the container runs");
    let mut pids = vec![site.cluster.container_pid(id).expect("its process")];
    while let Some(pid) = pids.pop() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // Not redis-cli, which the shells there call.
        if ["redis-server", "redis-sentinel"].contains(&name.trim_end()) {
            return pid;
        }
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    panic!("no Redis runs in the container {container} of {}", pod.name);
}

fn signal(pid: u32, signal: &str) {
    let done = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(done.is_ok_and(|status| status.success()), "kill {signal} {pid}");
}
