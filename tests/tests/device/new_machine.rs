//! A machine that gets the system from a stick: its firmware starts recovery from it, which installs on the
//! disk that is chosen and confirmed. Then it starts from that disk, without the stick.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Result, ensure};
use system_tests::releases::Releases;
use xtask::machine::{Disk, LIMIT, Machine, Options};
use xtask::process;

use crate::growth::data_size;
use crate::recovery::{picture, says};
use crate::shared::Shared;
use crate::update::STICK;

/// The new disk, and the least that `/data` has on it then.
const DISK: u64 = 6 << 30;
const DATA: u64 = 4 << 30;
/// A disk on which nothing has room.
const SMALL: u64 = 64 << 20;

pub fn a_stick_installs_on_a_new_machine(phone: &mut Shared) -> Result<()> {
    let folder = Shared::folder("new-machine")?;
    let phone = phone.phone()?;
    let mut releases = Releases::new(phone, &folder)?;
    releases.recovery = true;
    releases.publish("0.2.0", &[], |_, _| Ok(()))?;
    let files = folder.join("stick");
    releases.make_stick("0.2.0", &files)?;
    let stick = folder.join("stick.img");
    make_stick(&files, &stick)?;
    let (disk, small) = (folder.join("disk.img"), folder.join("small.img"));
    File::create(&disk)?.set_len(DISK)?;
    File::create(&small)?.set_len(SMALL)?;

    let alone = Options::new(&phone.image, &disk, &folder)?;
    let mut options = alone.clone();
    options.disk = Disk::File(disk.clone());
    for (name, file) in [("stick", &stick), ("small", &small)] {
        options.arguments.extend([
            "-drive".to_owned(),
            format!("id={name},if=none,format=raw,file={}", file.display()),
            "-device".to_owned(),
            format!("virtio-blk-pci,drive={name}"),
        ]);
    }
    let mut machine = Machine::start(options)?;
    says(
        &mut machine,
        "recovery: 0.2.0 can be installed on vda, 6.4 GB; vdc is too small",
    )?;
    picture(&mut machine, &folder.join("disks.png"))?;
    machine.key("tab")?;
    machine.key("ret")?;
    says(&mut machine, "recovery: is vda, 6.4 GB to be erased")?;
    picture(&mut machine, &folder.join("chosen.png"))?;
    // Who does not mean it goes back, and nothing is written.
    machine.key("ret")?;
    let offered = "recovery: 0.2.0 can be installed on vda";
    machine.wait_for("the disks to be offered again", |machine| {
        Ok((machine.serial_log().matches(offered).count() > 1).then_some(()))
    })?;
    ensure!(
        is_empty(&disk)?,
        "something was written to {}",
        disk.display()
    );
    picture(&mut machine, &folder.join("disks-again.png"))?;
    for key in ["tab", "ret"] {
        machine.key(key)?;
    }
    machine.wait_for("the disk to be chosen again", |machine| {
        Ok((machine.serial_log().matches("to be erased").count() > 1).then_some(()))
    })?;
    picture(&mut machine, &folder.join("chosen-again.png"))?;
    for key in ["tab", "ret"] {
        machine.key(key)?;
    }
    says(&mut machine, "recovery: 0.2.0 is installed")?;
    runs(&mut machine)?;
    machine.shut_down(LIMIT)?;

    let mut machine = Machine::start(alone)?;
    runs(&mut machine)?;
    machine.shut_down(LIMIT)?;
    let verdict = process::output(process::tool("sfdisk").arg("--verify").arg(&disk))?;
    ensure!(verdict.contains("No errors detected"), "{verdict}");
    Ok(())
}

/// Waits until the installed system is there, with all of its disk.
fn runs(machine: &mut Machine) -> Result<()> {
    machine.wait_for_page("lock")?;
    machine.wait_for_answer("update", |status| {
        status.contains("0.2.0 runs in slot a")
            && status.contains("the firmware starts slot a by itself")
    })?;
    machine.wait_for_answer("log -n 1000 init", |log| log.contains("/data has grown to"))?;
    let size = data_size(machine)?;
    ensure!(
        size > DATA,
        machine.evidence(&format!("/data has only {size} bytes"))
    );
    Ok(())
}

/// A stick with these files, as an owner would make it.
fn make_stick(files: &Path, stick: &Path) -> Result<()> {
    File::create(stick)?.set_len(STICK)?;
    process::run(process::tool("mkfs.vfat").args(["-F", "32"]).arg(stick))?;
    process::run(
        process::tool("mcopy")
            .args(["-s", "-i"])
            .arg(stick)
            .args([files.join("EFI"), files.join("hyperos")])
            .arg("::/"),
    )
}

/// Whether nothing was ever written to a disk.
fn is_empty(disk: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(disk)?.blocks() == 0)
}
