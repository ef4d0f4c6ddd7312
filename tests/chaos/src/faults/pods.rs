//! Pods that are deleted.

use keystead_e2e::{eventually, kubectl_ok};

use super::Site;
use crate::members::Pod;

/// As an eviction does it.
pub(super) const GRACEFUL: &[&str] = &[];
/// As somebody does it who believes that the node is gone.
pub(super) const FORCED: &[&str] = &["--grace-period=0", "--force"];

/// Deletes them at once and waits until others are in their places.
pub(super) fn delete(site: &Site, pods: &[Pod], how: &[&str]) {
    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    let namespace = ["-n", site.members.namespace(), "--wait=false"];
    kubectl_ok(&[&["delete", "pod"], &names[..], &namespace, how].concat());
    for pod in pods {
        eventually("another pod is in its place", || match site.members.pod(&pod.name)?.uid() {
            uid if uid == pod.uid() => Err(format!("{} is still there", pod.name)),
            _ => Ok(()),
        });
    }
}
