//! Whole-system tests: virtual machines, namespaces, power cuts.

pub mod power_cut;
pub mod wire;
