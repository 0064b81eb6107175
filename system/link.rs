//! Links a program of the image as ARCHITECTURE.md says under "How programs are linked".

fn main() {
    println!("cargo::rerun-if-changed=../link.rs");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        println!("cargo::rustc-link-arg-bins=-Wl,--build-id=none");
    }
}
