//! cargo xtask: up, down, dev, test, bench, crds.

fn main() {}
