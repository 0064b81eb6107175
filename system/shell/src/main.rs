//! The screen: scene, input, lock, home, control centre, notifications, settings.
fn main() {}
