//! Tenants on a real API server, with the operator as a process of its own. Needs `KEYSTEAD_TEST_KUBECONFIG`; without it,
//! each test says that it is skipped. No other operator may lead on that cluster meanwhile. The API server and the
//! controller manager are enough; where there is a node, it is also seen that pods become ready.

#![allow(clippy::expect_used, clippy::unwrap_used, unreachable_pub, reason = "modules of one test binary")]

mod cluster;
mod deletion;
mod drift;
mod leaders;
mod operator;
mod provisioning;
mod proxy;
mod rules;
mod shards;
mod signing;
mod sleep;
mod tls;
