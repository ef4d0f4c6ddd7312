//! The life of one tenant.
pub mod build;
pub mod compare;
pub mod credentials;
pub mod names;
pub mod validate;
