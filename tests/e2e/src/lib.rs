//! What the scenarios share: kubectl, the gateway over HTTP, Tenants that are deleted when a scenario ends.
//!
//! A scenario sees Keystead as its users do. It needs `KUBECONFIG` of a cluster with the chart installed.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test equipment: a failed step ends the test")]

mod http;
mod kubectl;
mod tenant;
mod wait;

pub use http::{Answer, Gateway};
pub use kubectl::{Output, apply, delete, get_json, kubectl, kubectl_ok};
pub use tenant::{Tenant, User};
pub use wait::{EndsWhenDropped, eventually, within};
