//! Runs one tenant's jobs.

fn main() {}
