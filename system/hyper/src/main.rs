//! The services and the command line in one static program.
fn main() {}
