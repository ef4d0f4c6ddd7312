//! The Tenant custom resource: types, validation rules, conditions. No I/O.
