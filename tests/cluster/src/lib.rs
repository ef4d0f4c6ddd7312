//! A single-node Kubernetes from plain binaries, for tests and local use. No container engine, no registry.
//!
//! etcd, apiserver, controller-manager, scheduler, containerd, kubelet, kube-proxy, `CoreDNS`, metrics-server and the
//! local-path provisioner are built from their Go modules once and kept in a cache; all but pods run as processes of
//! the host. Pods are real: containerd, runc, CNI. NetworkPolicies are enforced by `keystead-netpol`.

mod addons;
pub mod api_server;
pub mod audit;
mod cluster;
mod down;
pub mod images;
pub mod packages;
pub mod paths;
mod pki;
mod processes;
pub mod shell;
mod start;
pub mod steal;
pub mod tools;

pub use cluster::{Cluster, Options};
pub use down::leftovers;
