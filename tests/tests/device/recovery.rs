//! A device whose slots are damaged, one after the other.
//!
//! | what is damaged | what the device does |
//! |---|---|
//! | nothing; another disk, found first, has a partition called root-a | starts from its own |
//! | the root of slot a | starts slot b, from then on too |
//! | that of slot b as well | starts recovery, which refuses a doctored stick and installs from a good one |
//!
//! What the owner set stays through all of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use system_tests::releases::Releases;
use xtask::image::Image;
use xtask::machine::{Disk, LIMIT, Machine, Options};
use xtask::process;

use crate::root::{SUPERBLOCK, flip};
use crate::shared::Shared;
use crate::update::{STICK, copy_to_stick};

/// A disk of nobody's, with one partition.
const OTHER_DISK: u64 = 8 << 20;

pub fn damaged_slots_end_in_recovery_which_installs_from_a_stick(phone: &mut Shared) -> Result<()> {
    let folder = Shared::folder("recovery")?;
    let phone = phone.phone()?;
    let mut releases = Releases::new(phone, &folder)?;
    releases.recovery = true;
    releases.publish("0.2.0", &[], |_, _| Ok(()))?;
    let disk = folder.join("disk.img");
    phone.image.write_disk(&disk)?;
    put_into_slot_b(&phone.image, &folder.join("image"), &disk)?;
    let stick = folder.join("stick.img");
    File::create(&stick)?.set_len(STICK)?;
    let doctored = folder.join("doctored");
    doctor(releases.repository(), &doctored)?;
    copy_to_stick(&doctored, &stick)?;

    let mut options = Options::new(&phone.image, &disk, &folder)?;
    options.disk = Disk::File(other_disk(&folder)?);
    for (name, file, access) in [("own", &disk, "off"), ("stick", &stick, "on")] {
        options.arguments.extend([
            "-drive".to_owned(),
            format!(
                "id={name},if=none,format=raw,readonly={access},file={}",
                file.display()
            ),
            "-device".to_owned(),
            format!("virtio-blk-pci,drive={name}"),
        ]);
    }
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    machine.hyper("settings set appearance.accent moss")?;
    machine.hyper("settings set update.automatic off")?;
    machine.wait_for_answer("update", |status| {
        status.contains("0.1.0 runs in slot a")
            && status.contains("the firmware starts slot a by itself")
    })?;

    let layout = &phone.image.layout;
    flip(&disk, layout.partition("root-a").offset + SUPERBLOCK + 48)?;
    restart(&mut machine)?;
    machine.wait_for_answer("update", |status| {
        status.contains("0.2.0 runs in slot b")
            && status.contains("the firmware starts slot b by itself")
    })?;
    settings_are_there(&mut machine)?;
    let log = machine.hyper("log -n 1000 init")?;
    ensure!(
        log.contains("slot a could not be started"),
        "nobody is told that slot a is damaged: {log}"
    );

    flip(&disk, layout.partition("root-b").offset + SUPERBLOCK + 48)?;
    restart(&mut machine)?;
    says(
        &mut machine,
        "stick vdc: it is not what was signed: Hash mismatch",
    )?;
    picture(&mut machine, &folder.join("doctored.png"))?;
    copy_to_stick(releases.repository(), &stick)?;
    machine.key("ret")?;
    says(
        &mut machine,
        "recovery: 0.2.0 on stick vdc can be installed",
    )?;
    picture(&mut machine, &folder.join("found.png"))?;
    machine.key("ret")?;
    says(&mut machine, "recovery: 0.2.0 is installed")?;
    machine.wait_for_page("lock")?;
    machine.wait_for_answer("update", |status| {
        status.contains("0.2.0 runs in slot b")
            && status.contains("the firmware starts slot b by itself")
    })?;
    settings_are_there(&mut machine)?;
    machine.shut_down(LIMIT)
}

/// A disk with a partition that is called as the root is, and is none.
fn other_disk(folder: &Path) -> Result<std::path::PathBuf> {
    let disk = folder.join("other.img");
    File::create(&disk)?.set_len(OTHER_DISK)?;
    let layout = folder.join("other.layout");
    fs::write(&layout, "label: gpt\nname=root-a\n")?;
    let made = process::tool("sfdisk")
        .arg("--quiet")
        .arg(&disk)
        .stdin(File::open(&layout)?)
        .status()
        .context("starting sfdisk")?;
    ensure!(made.success(), "sfdisk made no partition: {made}");
    Ok(disk)
}

/// Puts a release that was made in `from` into the slot that a new disk has empty.
fn put_into_slot_b(image: &Image, from: &Path, disk: &Path) -> Result<()> {
    let esp = from.join("esp-b.img");
    fs::copy(from.join("esp.img"), &esp)?;
    process::run(
        process::tool("mcopy")
            .args(["-o", "-i"])
            .arg(&esp)
            .arg(from.join("boot-b.efi"))
            .arg("::/EFI/BOOT/BOOTX64.EFI"),
    )?;
    let file = File::options().write(true).open(disk)?;
    for (partition, from) in [("esp-b", &esp), ("root-b", &from.join("root.img"))] {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        file.write_all_at(&content, image.layout.partition(partition).offset)
            .with_context(|| format!("writing {partition}"))?;
    }
    Ok(())
}

/// Copies a repository, and has the copy call its release another version.
fn doctor(repository: &Path, to: &Path) -> Result<()> {
    process::run(Command::new("cp").arg("--recursive").args([repository, to]))?;
    let mut doctored = 0;
    for entry in fs::read_dir(to.join("metadata"))?.flatten() {
        let path = entry.path();
        let text = fs::read_to_string(&path)?;
        if path.to_string_lossy().ends_with(".stable.json") && text.contains("0.2.0") {
            fs::write(&path, text.replace("0.2.0", "9.2.0"))?;
            doctored += 1;
        }
    }
    ensure!(doctored > 0, "there is no metadata to doctor");
    Ok(())
}

fn restart(machine: &mut Machine) -> Result<()> {
    machine.hyper("restart")?;
    machine.console().disconnect();
    Ok(())
}

/// Waits until recovery has said this.
pub fn says(machine: &mut Machine, text: &str) -> Result<()> {
    machine.wait_for(&format!("recovery to say {text:?}"), |machine| {
        Ok(machine.serial_log().contains(text).then_some(()))
    })
}

/// Keeps a picture of the screen, on which there is something to be read.
pub fn picture(machine: &mut Machine, to: &Path) -> Result<()> {
    let picture = machine.still_picture(std::time::Duration::from_millis(500))?;
    picture.save(to)?;
    ensure!(
        picture.colours(8) >= 8,
        machine.evidence("the screen of recovery shows nothing")
    );
    Ok(())
}

fn settings_are_there(machine: &mut Machine) -> Result<()> {
    let accent = machine.hyper("settings get appearance.accent")?;
    ensure!(accent.contains("moss"), "the setting is now {accent}");
    Ok(())
}
