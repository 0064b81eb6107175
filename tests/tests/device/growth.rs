//! A device whose disk is larger than its image: the ordinary case on real hardware.

use std::fs::File;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use partitions::{SECTOR, Table};
use system_tests::power_cut::filesystem;
use xtask::machine::{LIMIT, Machine};
use xtask::process;

use crate::shared::Shared;
use crate::story::number_after;

/// As large as the disk is made, and the least that `/data` has then.
const DISK: u64 = 8 << 30;
const DATA: u64 = 7 << 30;

pub fn data_fills_a_larger_disk(phone: &mut Shared) -> Result<()> {
    let (options, disk) = phone.own("larger-disk")?;
    let file = File::options().read(true).write(true).open(&disk)?;
    file.set_len(DISK)?;
    let mut machine = Machine::start(options.clone())?;
    machine.wait_for_page("lock")?;
    machine.wait_for_answer("log -n 1000 init", |log| log.contains("/data has grown to"))?;
    ensure!(
        data_size(&mut machine)? > DATA,
        machine.evidence("/data is as small as it was made")
    );
    machine.hyper("settings set appearance.accent moss")?;
    machine.cut_power()?;

    // It begins where the power cut left it, and there is nothing more to grow.
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    let accent = machine.hyper("settings get appearance.accent")?;
    ensure!(accent.contains("moss"), "the setting is now {accent}");
    ensure!(
        data_size(&mut machine)? > DATA,
        machine.evidence("/data is as small as it was made")
    );
    let log = machine.hyper("log -n 1000 init")?;
    // What was said before the cut may be lost with it.
    ensure!(
        log.matches("/data has grown to").count() <= 1,
        "it grew more than once: {log}"
    );
    machine.shut_down(LIMIT)?;

    let table = Table::read(&file)?;
    let data = table.partition("data").context("the disk has no data")?;
    let verdict = process::output(process::tool("sfdisk").arg("--verify").arg(&disk))?;
    ensure!(verdict.contains("No errors detected"), "{verdict}");
    let phone = phone.phone()?;
    let mut partition = phone.image.layout.partition("data").clone();
    partition.size = (data.sectors.end() + 1 - data.sectors.start()) * SECTOR;
    let copy = disk.with_extension("data");
    filesystem::take_out(&disk, &partition, &copy)?;
    process::output(Command::new("/sbin/e2fsck").arg("-fn").arg(&copy))
        .context("the file system that grew is not in order")?;
    // What the image's builder finds there is the disk that it made.
    phone.image.update_disk(&disk)
}

/// How large `/data` is, in bytes.
pub fn data_size(machine: &mut Machine) -> Result<u64> {
    let volumes = machine.hyper("call device.volumes")?;
    let data = volumes.split("\"data\"").nth(1);
    data.and_then(|data| number_after(data, "size:"))
        .with_context(|| format!("nobody says how large /data is: {volumes}"))
}
