//! What the workspace promises about the bus.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The files of ours below a folder: what is built or fetched is not.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                files(&entry.path(), found);
            }
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            found.push(entry.path());
        }
    }
}

#[test]
fn only_lib_bus_names_wrpc() {
    let root = root();
    let mut found = Vec::new();
    files(&root, &mut found);
    assert!(found.len() > 20, "the search reads the workspace");
    let bus = root.join("lib/bus");
    let naming: Vec<_> = found
        .iter()
        .filter(|file| !file.starts_with(&bus))
        .filter(|file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            ["wrpc_", "wrpc-", "wit_bindgen", "wit-bindgen"]
                .iter()
                .any(|name| text.contains(name))
        })
        .collect();
    assert!(
        naming.is_empty(),
        "only lib/bus may know the wire, but these name it: {naming:?}"
    );
}

/// The text that a published package is held to: without comments, documentation and spacing, which
/// may be improved at any time.
fn normal(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `hyper:settings@1.0.0` and so on, each with the hash of its normal text.
fn packages() -> BTreeMap<String, String> {
    let mut packages = BTreeMap::new();
    for (file, text) in bus::WIT {
        let normal = normal(text);
        let id = normal
            .strip_prefix("package ")
            .and_then(|rest| rest.split_once(';'))
            .map(|(id, _)| id.to_owned());
        let id = id.unwrap_or_else(|| panic!("wit/{file} does not begin with its package"));
        let hash: String = Sha256::digest(normal.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(
            packages.insert(id.clone(), hash).is_none(),
            "{id} is defined twice"
        );
    }
    packages
}

/// A package is published by the release that first carries it: whoever makes the release adds it to
/// `wit/published.lock` with `PUBLISH=hyper:settings@1.0.0 cargo test -p bus --test house`. From then
/// on it stays as it is, and what must change is a package with another version beside it.
#[test]
fn a_published_package_stays_as_it_is() {
    let path = root().join("wit/published.lock");
    let packages = packages();
    let mut lock = fs::read_to_string(&path).unwrap();
    if let Ok(publish) = std::env::var("PUBLISH") {
        for id in publish.split_whitespace() {
            let hash = packages
                .get(id)
                .unwrap_or_else(|| panic!("there is no package {id} in wit/"));
            assert!(
                !lock.contains(&format!("{id} ")),
                "{id} is published already"
            );
            lock.push_str(&format!("{id} {hash}\n"));
        }
        fs::write(&path, &lock).unwrap();
    }
    if let Err(problem) = check(&lock, &packages) {
        panic!("{problem}");
    }
}

fn check(lock: &str, packages: &BTreeMap<String, String>) -> Result<(), String> {
    for line in lock
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    {
        let (id, hash) = line
            .split_once(' ')
            .ok_or_else(|| format!("wit/published.lock: {line:?} is not `package hash`"))?;
        match packages.get(id) {
            None => {
                return Err(format!(
                    "{id} is published and may not go away while a device may still speak it"
                ));
            }
            Some(now) if now != hash.trim() => {
                return Err(format!(
                    "{id} is published and may not change: put the change into a new version beside it"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[test]
fn the_lock_sees_a_change_and_lets_documentation_be_improved() {
    let (before, documented) = (
        "package a:b@1.0.0;\ninterface i { f: func(); }",
        "/// What it is.\npackage a:b@1.0.0;\n\ninterface i {\n  /// Does it.\n  f: func();\n}",
    );
    let changed = "package a:b@1.0.0;\ninterface i { f: func(x: u8); }";
    let hash = |text: &str| -> String {
        Sha256::digest(normal(text).as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    assert_eq!(normal(before), normal(documented));
    let lock = format!("a:b@1.0.0 {}\n", hash(before));
    let with = |text: &str| BTreeMap::from([("a:b@1.0.0".to_owned(), hash(text))]);
    assert_eq!(check(&lock, &with(documented)), Ok(()));
    assert!(
        check(&lock, &with(changed))
            .unwrap_err()
            .contains("may not change")
    );
    assert!(
        check(&lock, &BTreeMap::new())
            .unwrap_err()
            .contains("may not go away")
    );
}
