//! Whole-system tests: virtual machines, namespaces, power cuts.
