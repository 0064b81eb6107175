//! Compiles the design language: icons to path commands, then everything to Rust.

mod icons;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=icons");
    println!("cargo:rerun-if-changed=lang");
    let generated = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(
        generated.join("icons.slint"),
        icons::generate("icons".as_ref())?,
    )?;
    let configuration = slint_build::CompilerConfiguration::new()
        .with_include_paths(vec![generated])
        .with_bundled_translations("lang")
        .with_default_translation_context(slint_build::DefaultTranslationContext::None);
    slint_build::compile_with_config("main.slint", configuration)?;
    Ok(())
}
