//! Harnesses, end-to-end scenarios and benchmarks.
