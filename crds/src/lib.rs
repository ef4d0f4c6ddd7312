//! The Tenant custom resource: types, validation rules, conditions. No I/O.
//!
//! The types generate the `CustomResourceDefinition` ([`crd`], [`yaml`]); `crds/yaml/tenants.yaml` is its committed copy.
//! Each rule lives in that schema, as a bound or as a CEL expression, so that the apiserver enforces it, [`check`]
//! evaluates the same text without one, and no webhook is needed.

// kube's `KubeSchema` repeats each type inside a function, where `pub` reaches nobody.
#![allow(unreachable_pub)]

mod audit;
mod auth;
mod autoscaling;
mod cache;
mod check;
mod encryption;
mod hibernation;
mod network;
mod quantity;
mod redis;
mod schema;
mod settings;
mod status;
mod tenant;
mod tls;
mod worker;

pub use audit::AuditSpec;
pub use auth::{AuthSpec, IssuerSpec, Signing};
pub use autoscaling::{AutoscalingSpec, Profile, ReaderAutoscaling, WorkerAutoscaling};
pub use cache::CacheSpec;
pub use check::{Refused, check};
pub use encryption::EncryptionSpec;
pub use hibernation::HibernationSpec;
pub use network::{EgressPeer, EgressPort, NetworkSpec, Peer, Protocol};
pub use quantity::{InvalidQuantity, bytes, canonical, is_same_amount};
pub use redis::{
    AppendOnly, CredentialsSpec, Durability, EvictionPolicy, PersistenceSpec, Reads, RedisSpec,
    ResourceAmounts, Resources, StorageSpec, Topology,
};
pub use schema::{crd, yaml};
pub use settings::{InvalidSetting, check_setting, live_settings};
pub use status::{
    Failover, MemberRole, MemberStatus, Phase, RedisStatus, TenantStatus, UsageStatus, condition,
};
pub use tenant::{DeletionPolicy, LimitsSpec, Tenant, TenantSpec};
pub use tls::TlsSpec;
pub use worker::{ScheduleSpec, WebhookSpec, WorkerSpec};

/// Put on a Tenant while the operator has something to remove for it.
pub const FINALIZER: &str = "keystead.io/tenant";
/// Sets the fields that the operator owns on every object.
pub const FIELD_MANAGER: &str = "keystead-operator";
