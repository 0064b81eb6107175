//! The developer's tool: run, test, image, kernel, bench.
fn main() {}
