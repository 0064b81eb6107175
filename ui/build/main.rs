//! Compiles the design language: icons to path commands, then everything to Rust.

mod icons;

use std::error::Error;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=icons");
    println!("cargo:rerun-if-changed=lang");
    let generated = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let source = generated.join("icons.slint");
    fs::write(&source, icons::generate("icons".as_ref())?)?;
    // Slint tells cargo to watch it as it does all that it reads. Made by this very run it would be
    // newer than the run, and everything here would be compiled anew with each build; what it is made
    // of is watched above.
    File::options()
        .write(true)
        .open(&source)?
        .set_modified(SystemTime::UNIX_EPOCH)?;
    let configuration = slint_build::CompilerConfiguration::new()
        .with_include_paths(vec![generated])
        .with_bundled_translations("lang")
        .with_default_translation_context(slint_build::DefaultTranslationContext::None);
    slint_build::compile_with_config("main.slint", configuration)?;
    Ok(())
}
