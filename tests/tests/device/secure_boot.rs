//! Firmware that was given a key: it starts the releases that this key signed and no others, and of these none
//! with a hole that the one that runs has closed.
//!
//! The key is the one that Debian's firmware variables for tests hold; it is nobody's secret.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use system_tests::mirror::Mirror;
use system_tests::releases::{self, Releases, restart};
use xtask::image::security_version::CURRENT;
use xtask::image::{self, Signer};
use xtask::machine::{Boot, LIMIT, Machine, Options};
use xtask::process;

use crate::shared::Shared;
use crate::update::{given_up, kept};

const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd";
const KEY: &str = "/usr/share/ovmf/PkKek-1-snakeoil.key";
const CERTIFICATE: &str = "/usr/share/ovmf/PkKek-1-snakeoil.pem";

pub fn only_what_was_signed_starts(phone: &mut Shared) -> Result<()> {
    let folder = Shared::folder("secure-boot")?;
    let signer = signer(&folder)?;
    let phone = phone.phone()?;
    let options = image::Options {
        signer: Some(signer.clone()),
        ..image::Options::default()
    };
    let signed = phone
        .image
        .variant(&folder.join("signed"), &options, |_, _| Ok(()))?;
    let disk = folder.join("disk.img");
    signed.write_disk(&disk)?;
    let mut releases = Releases::new(phone, &folder)?;
    let mirror = Mirror::start(releases.repository())?;

    let mut options = Options::new(&signed, &disk, &folder)?;
    options.boot = Boot::SecureBoot(VARIABLES.into());
    let mut machine = Machine::start(options)?;
    machine.wait_for_page("lock")?;
    let about = machine.hyper("call device.about")?;
    ensure!(
        about.contains("secure-boot: true"),
        machine.evidence(&format!("the firmware has no secure boot: {about}"))
    );
    releases::follow(&mut machine, &mirror)?;

    // Signed for updates, and not for this firmware.
    releases.publish("0.2.0", &[], |_, _| Ok(()))?;
    releases::install(&mut machine, "0.2.0")?;
    restart(&mut machine)?;
    given_up(&mut machine, "0.2.0", ("0.1.0", "a"), "did not come up")?;

    // It closes a hole that the first one had, and the next one still has.
    releases.signer = Some(signer);
    releases.security_version = CURRENT + 1;
    releases.publish("0.3.0", &[], |_, _| Ok(()))?;
    releases::install(&mut machine, "0.3.0")?;
    restart(&mut machine)?;
    kept(&mut machine, "0.3.0", "b")?;
    let raised = format!("a security version below {} are not started", CURRENT + 1);
    machine.wait_for_answer("log -n 1000 init", |log| log.contains(&raised))?;
    releases.security_version = CURRENT;
    releases.publish("0.4.0", &[], |_, _| Ok(()))?;
    releases::install(&mut machine, "0.4.0")?;
    restart(&mut machine)?;
    given_up(
        &mut machine,
        "0.4.0",
        ("0.3.0", "b"),
        "older than this device starts",
    )?;
    let said = machine.serial_log();
    let reason = format!("starts none below {}", CURRENT + 1);
    ensure!(
        said.contains(&reason),
        machine.evidence("it was given up for another reason")
    );
    machine.shut_down(LIMIT)
}

/// A key with a certificate that the firmware's one has signed, for that has no name of its own, which the
/// firmware asks of whoever signs its variables.
fn signer(folder: &Path) -> Result<Signer> {
    let path = |name: &str| folder.join(name);
    let (key, certificate) = (path("boot.key"), path("boot.pem"));
    let openssl = |arguments: &mut dyn FnMut(&mut Command)| {
        let mut command = process::tool("openssl");
        arguments(&mut command);
        process::run(&mut command)
    };
    // Everybody knows its passphrase, and openssl would ask for it.
    openssl(&mut |command| {
        command.args(["rsa", "-passin", "pass:snakeoil", "-in", KEY, "-out"]);
        command.arg(path("firmware.key"));
    })
    .context("reading the key that Debian's firmware for tests has")?;
    openssl(&mut |command| {
        command.args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj"]);
        command.args(["/CN=boot files/", "-keyout"]).arg(&key);
        command.arg("-out").arg(path("boot.request"));
    })?;
    openssl(&mut |command| {
        command.args(["x509", "-req", "-days", "7300", "-set_serial", "1"]);
        command.args(["-CA", CERTIFICATE, "-CAkey"]);
        command.arg(path("firmware.key")).arg("-in");
        command
            .arg(path("boot.request"))
            .arg("-out")
            .arg(&certificate);
    })?;
    Ok(Signer { key, certificate })
}
