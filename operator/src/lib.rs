//! The operator: turns Tenants into namespaces with a Redis, credentials, policies and a worker, and tells the gateway
//! of them. Knows `keystead-crds` and the route format; never speaks a tenant's data.

pub mod cache;
#[cfg(test)]
mod fixtures;
pub mod kinds;
pub mod settings;
pub mod tenant;
