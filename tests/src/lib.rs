//! Whole-system tests: virtual machines, namespaces, power cuts.
//!
//! What every test of a kind needs is here, with tests of its own; the tests themselves are in
//! `tests/`. They start real machines and look at them from outside.

pub mod bench_mesh;
pub mod bench_update;
pub mod house;
pub mod mirror;
pub mod phone;
pub mod power_cut;
pub mod releases;
pub mod screens;
pub mod wire;
