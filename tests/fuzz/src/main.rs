//! libFuzzer around the target that `FUZZ_TARGET` names.

#![no_main]

use std::sync::OnceLock;

use fuzz::{PLANTED, TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let target = TARGETS
            .iter()
            .chain([&PLANTED])
            .find(|target| target.name == name)
            .expect("there is a target of that name");
        let _ = TARGET.set(*target);
    },
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.run)(bytes);
        }
    }
);
