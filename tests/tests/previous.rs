//! A family of devices of which some run what was there the day before: its programs are built from the history.
//!
//! `PREVIOUS` names another commit.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use system_tests::house::{Device, House, Stage};
use xtask::{paths, process, programs::TARGET};

const SERVICES: [&str; 5] = ["settings", "mesh", "state", "clipboard", "files"];

#[test]
#[ignore = "builds all programs of another commit"]
fn devices_of_two_releases_share_a_family_and_one_comes_and_goes_between_them() {
    let Some(house) = House::new(&SERVICES).unwrap() else {
        return;
    };
    check(&house).unwrap();
}

fn check(house: &Arc<House>) -> Result<()> {
    let before = previous()?;
    let (phone, tv) = (Device::new(house)?, Device::new(house)?);
    let mut tablet = Device::running(house, &before)?;
    // Each side asks the other one in.
    phone.takes_in(&tablet, "tablet", "owner")?;
    tablet.takes_in(&tv, "tv", "shared")?;
    tablet.hyper(&["family", "rename", &phone.id()?, "phone"])?;
    act_as_one(&phone, &tablet, &tv, "Hall")?;

    // An update, and the way back from one that does not hold.
    tablet.restart_with(None)?;
    act_as_one(&phone, &tablet, &tv, "Kitchen")?;
    tablet.restart_with(Some(&before))?;
    act_as_one(&phone, &tablet, &tv, "Study")?;

    // It hears that it is out, or at least is treated so.
    phone.hyper(&["family", "remove", "tablet"])?;
    tv.hyper_until(&["family"], |table| !table.contains("tablet"))?;
    let called = tablet.try_hyper(&["call", "tv", "device.about"])?;
    ensure!(!called.status.success(), "it calls the family still");
    Ok(())
}

/// Everything that they share goes from each of the two to the other.
fn act_as_one(phone: &Device, tablet: &Device, tv: &Device, room: &str) -> Result<()> {
    for (from, to) in [
        (phone, "tablet"),
        (phone, "tv"),
        (tablet, "phone"),
        (tablet, "tv"),
    ] {
        from.sees(to)?;
        from.hyper(&["call", to, "device.about"])?;
    }
    for (one, name, other) in [(phone, "phone", tablet), (tablet, "tablet", phone)] {
        let place = format!("{name} {room}");
        one.hyper(&["family", "room", name, &place])?;
        for device in [one, other, tv] {
            device.hyper_until(&["family"], |table| table.contains(&place))?;
        }
        let accent = if name == "phone" { "moss" } else { "slate" };
        one.hyper(&["settings", "set", "appearance.accent", accent])?;
        other.hyper_until(&["settings", "get", "appearance.accent"], |set| {
            set.contains(accent)
        })?;

        let word = format!("from {name} in {place}");
        one.hyper(&["clipboard", "set", &word])?;
        other.hyper_until(&["clipboard", "get"], |pasted| pasted.contains(&word))?;

        let things = tempfile::tempdir()?;
        let file = things.path().join(&place);
        let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
        fs::write(&file, &content)?;
        let to = if name == "phone" { "tablet" } else { "phone" };
        one.hyper(&["send", to, &file.to_string_lossy()])?;
        let arrived = fs::read(other.data().join("files").join(&place))?;
        ensure!(
            arrived == content,
            "{place} arrived otherwise than it was sent"
        );
    }
    Ok(())
}

/// What was there the day before, built.
fn previous() -> Result<Arc<Stage>> {
    let root = paths::repository()?;
    let git = |arguments: &[&str]| {
        let output = process::output(Command::new("git").args(arguments).current_dir(&root));
        output.map(|text| text.trim().to_owned())
    };
    let commit = match std::env::var("PREVIOUS") {
        Ok(commit) => commit,
        Err(_) => {
            let newest: u64 = git(&["log", "-1", "--format=%ct"])?.parse()?;
            let before = format!("--before={}", newest - 24 * 60 * 60);
            git(&["log", "-1", "--format=%H", &before])?
        }
    };
    ensure!(
        !commit.is_empty(),
        "the history has nothing that is a day older: name a commit in PREVIOUS"
    );
    let folder = paths::target(&root)?.join("previous");
    let (sources, target) = (folder.join("sources"), folder.join("target"));
    if sources.exists() {
        fs::remove_dir_all(&sources).context("taking other sources away")?;
    }
    paths::create(&sources)?;
    let archive = folder.join("sources.tar");
    let to = format!("--output={}", archive.display());
    git(&["archive", &to, &commit])?;
    process::run(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .current_dir(&sources),
    )?;
    process::run_visibly(
        Command::new("cargo")
            .args(["xtask", "--yes", "image", "--device", "qemu-phone"])
            .current_dir(&sources)
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("CARGO_MANIFEST_DIR"),
    )
    .with_context(|| format!("building {commit}"))?;
    let built: PathBuf = target.join(TARGET).join("release");
    Stage::new(&sources, &built, &SERVICES)
}
