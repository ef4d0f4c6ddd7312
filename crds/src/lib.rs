//! The Tenant custom resource: types, validation rules, conditions. No I/O.
//!
//! The types generate the `CustomResourceDefinition` ([`crd`], [`yaml`]); `crds/yaml/tenants.yaml` is its committed copy.
//! Each rule lives in that schema, as a bound or as a CEL expression, so that the apiserver enforces it, [`check`]
//! evaluates the same text without one, and no webhook is needed.

// kube's `KubeSchema` repeats each type inside a function, where `pub` reaches nobody.
#![allow(unreachable_pub)]

mod auth;
mod autoscaling;
mod cache;
mod check;
mod encryption;
mod network;
mod quantity;
mod redis;
mod schema;
mod settings;
mod status;
mod tenant;
mod worker;

pub use auth::{AuthSpec, IssuerSpec, Signing};
pub use autoscaling::{AutoscalingSpec, Profile, WorkerAutoscaling};
pub use cache::CacheSpec;
pub use check::{Refused, check};
pub use encryption::EncryptionSpec;
pub use network::{EgressPeer, EgressPort, NetworkSpec, Peer, Protocol};
pub use quantity::{InvalidQuantity, bytes, canonical, is_same_amount};
pub use redis::{
    AppendOnly, EvictionPolicy, PersistenceSpec, RedisSpec, ResourceAmounts, Resources, StorageSpec, Topology,
};
pub use schema::{crd, yaml};
pub use settings::{InvalidSetting, check_setting};
pub use status::{Phase, RedisStatus, TenantStatus, condition};
pub use tenant::{DeletionPolicy, LimitsSpec, Tenant, TenantSpec};
pub use worker::{ScheduleSpec, WorkerSpec};

/// Put on a Tenant while the operator has something to remove for it.
pub const FINALIZER: &str = "keystead.io/tenant";
/// Sets the fields that the operator owns on every object.
pub const FIELD_MANAGER: &str = "keystead-operator";
