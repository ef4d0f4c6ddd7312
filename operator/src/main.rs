//! Reconciles Tenants.

fn main() {}
