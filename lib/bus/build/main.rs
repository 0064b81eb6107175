//! Makes the Rust side of every interface in `wit/`.
//!
//! The types and their codecs come from wRPC's own generator. The functions to call and the trait
//! to serve come from [`interface`], because this crate carries an invocation in one frame where
//! wRPC's transport needs four tasks and a connection of its own.

mod interface;
mod types;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

fn main() -> Result<()> {
    let wit = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../wit");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", wit.display());
    println!("cargo::rerun-if-changed=build");

    let mut files: Vec<PathBuf> = fs::read_dir(&wit)
        .with_context(|| format!("listing {}", wit.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wit"));
    files.sort();

    let mut resolve = Resolve::default();
    let mut interfaces = Vec::new();
    let mut texts = String::from("&[\n");
    for file in &files {
        let text = fs::read_to_string(file)?;
        println!("cargo::rerun-if-changed={}", file.display());
        let package = resolve
            .push_str(file, &text)
            .with_context(|| format!("reading {}", file.display()))?;
        interfaces.extend(resolve.packages[package].interfaces.values().copied());
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        writeln!(texts, "({name:?}, {text:?}),")?;
    }
    texts.push(']');
    fs::write(out.join("texts.rs"), texts)?;

    let mut world = String::from("package hyper:bus;\nworld all {\n");
    let mut ids = Vec::new();
    for interface in interfaces {
        let id = resolve
            .id_of(interface)
            .context("an interface without a name")?;
        writeln!(world, "import {id};")?;
        ids.push((id, interface));
    }
    world.push_str("}\n");
    let package = resolve.push_str("world.wit", &world)?;
    let world = resolve.select_world(&[package], Some("all"))?;

    let mut names = std::collections::BTreeSet::new();
    let mut functions = String::new();
    let mut purposes = String::from("&[\n");
    for (id, interface) in &ids {
        let name = resolve.interfaces[*interface]
            .name
            .clone()
            .unwrap_or_default();
        ensure!(
            names.insert(name.clone()),
            "two interfaces are named {name}: give one of them another module in build/interface.rs"
        );
        functions.push_str(&interface::generate(&resolve, id, *interface)?);
        let unversioned = id.split_once('@').map_or(id.as_str(), |(name, _)| name);
        let purpose = interface::purpose(&resolve.interfaces[*interface].docs);
        writeln!(purposes, "({unversioned:?}, {purpose:?}),")?;
    }
    purposes.push(']');
    fs::write(out.join("purposes.rs"), purposes)?;
    fs::write(out.join("interfaces.rs"), functions)?;
    fs::write(out.join("types.rs"), types::generate(&mut resolve, world)?)?;
    Ok(())
}

/// What wRPC's generator calls the files that it makes does not matter: there is one.
fn only_file(files: &Files) -> Result<String> {
    let (_, text) = files.iter().next().context("the generator made no file")?;
    Ok(String::from_utf8(text.to_vec())?)
}
