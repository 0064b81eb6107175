//! Releases of a phone's image, made by the maker's own tool and signed with the development key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hyper_release::publish::{self, Change};
use hyper_release::{keys, make, stick};
use release::Manifest;
use release::repository::{Folder, Repository};
use release::wave::Wave;
use serde_json::Value;
use xtask::image::{self, Image, Signer};
use xtask::machine::{LIMIT, Machine};

use crate::mirror::Mirror;
use crate::phone::Phone;

/// The channel that development images follow.
const CHANNEL: &str = "stable";

/// A repository for a phone, and what its releases are made in.
#[derive(Debug)]
pub struct Releases<'a> {
    phone: &'a Phone,
    folder: PathBuf,
    repository: PathBuf,
    key: PathBuf,
    /// What the boot files of the next releases are signed with for secure boot.
    pub signer: Option<Signer>,
    /// The security version of the next releases, which counts where they are signed.
    pub security_version: u32,
    /// Whether the next releases bring a recovery, which makes them half as large again.
    pub recovery: bool,
}

impl<'a> Releases<'a> {
    /// Makes an empty repository in `folder`.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    pub fn new(phone: &'a Phone, folder: &Path) -> Result<Self> {
        let repository = folder.join("repository");
        let _ = fs::remove_dir_all(&repository);
        let key = folder.join("key.pem");
        fs::write(&key, keys::DEVELOPMENT_KEY)?;
        let root = folder.join("root.json");
        fs::write(&root, keys::DEVELOPMENT_ROOT)?;
        run(publish::init(
            &repository,
            &root,
            &[(CHANNEL.to_owned(), key.clone())],
            &key,
            &key,
        ))?;
        Ok(Self {
            phone,
            folder: folder.to_owned(),
            repository,
            key,
            signer: None,
            security_version: image::security_version::CURRENT,
            recovery: false,
        })
    }

    /// The folder that a mirror serves.
    #[must_use]
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// Makes a release of the phone's image, changed, and lets everyone have it. `change` gets the
    /// image, of which the kernel may be another, and the folder of the system.
    ///
    /// # Errors
    ///
    /// Fails when the image or the release cannot be made.
    pub fn publish(
        &self,
        version: &str,
        command_line: &[&str],
        change: impl FnOnce(&mut Image, &Path) -> Result<()>,
    ) -> Result<()> {
        let folder = self.folder.join("image");
        let options = image::Options {
            version: Some(version.to_owned()),
            command_line: command_line.iter().map(|&word| word.to_owned()).collect(),
            signer: self.signer.clone(),
            security_version: self.security_version,
            recovery: self.recovery,
            ..image::Options::default()
        };
        let image = self
            .phone
            .image
            .variant(&folder, &options, |image, stage| {
                change(image, &stage.join("system"))
            })?;
        let made = make::make(
            &make::Image::in_folder(&image.folder, &image.product.name),
            &self.repository,
            "",
        )?;
        println!(
            "{}: {:.1} MB, {:.1} MB new",
            made.name,
            made.size as f64 / 1e6,
            made.added as f64 / 1e6
        );
        run(publish::change(
            &self.repository,
            CHANNEL,
            &made.name,
            &Change::Publish(Wave::default()),
            &self.key,
            &self.key,
        ))
    }

    /// Makes the files of a stick from which a new machine gets a release.
    ///
    /// # Errors
    ///
    /// Fails when there is none of this version, or it has no recovery.
    pub fn make_stick(&self, version: &str, folder: &Path) -> Result<()> {
        let name = format!("{}.global.{version}", self.phone.image.product.name);
        run(stick::make(&self.repository, &name, folder)).map(drop)
    }

    /// What a release consists of.
    ///
    /// # Errors
    ///
    /// Fails when there is none of this version.
    pub fn manifest(&self, version: &str) -> Result<Manifest> {
        run(async {
            let files = Arc::new(Folder(self.repository.clone()));
            let root = keys::DEVELOPMENT_ROOT.as_ref();
            let repository = Repository::load(root, files, None).await?;
            let offers = repository.offers();
            let offer = offers
                .iter()
                .find(|offer| offer.terms.version.to_string() == version)
                .with_context(|| format!("the repository has no release {version}"))?;
            Ok(repository.manifest(offer).await?)
        })
    }
}

/// Has the newest release written to the slot of a device that does not run.
///
/// # Errors
///
/// Fails, naming the logs and a picture, when the device says that it did not work.
pub fn install(machine: &mut Machine, version: &str) -> Result<()> {
    install_by(machine, version, "call update.install")
}

/// Has this release written to the slot of a device that does not run, though it is older than what
/// runs.
///
/// # Errors
///
/// Fails as [`install`] does.
pub fn install_older(machine: &mut Machine, version: &str) -> Result<()> {
    let command = format!("call update.install-version \"{version}\"");
    install_by(machine, version, &command)
}

fn install_by(machine: &mut Machine, version: &str, command: &str) -> Result<()> {
    // A device is up before its network is.
    machine.wait_for_answer("network", |answer| answer.contains("online: yes"))?;
    machine.hyper(command)?;
    wait_until_ready(machine, version)
}

/// Waits until a release was written to the slot of a device that does not run.
///
/// # Errors
///
/// Fails, naming the logs and a picture, when the device says that it did not work.
pub fn wait_until_ready(machine: &mut Machine, version: &str) -> Result<()> {
    let ready = format!("{version} is ready");
    let mut last = String::new();
    // As long as it goes on it may take its time.
    loop {
        let before = last.clone();
        last = machine.wait_for_answer("update", |status| status != before)?;
        if last.contains(&ready) {
            return Ok(());
        }
        ensure!(
            !last.contains("failed:") && !last.contains("no updates:"),
            machine.evidence(&format!("installing {version}: {last}"))
        );
    }
}

/// Has a device get releases from this mirror, and do nothing by itself.
///
/// # Errors
///
/// Fails when it does not take the settings.
pub fn follow(machine: &mut Machine, mirror: &Mirror) -> Result<()> {
    machine.hyper("settings set update.automatic off")?;
    machine.hyper(&format!("settings set update.mirrors {}", mirror.address()))?;
    Ok(())
}

/// Waits until a release was tried and is kept.
///
/// # Errors
///
/// Fails, naming the logs and a picture, when it is not.
pub fn wait_until_kept(machine: &mut Machine, version: &str) -> Result<()> {
    let kept = format!("{version} was tried and kept");
    machine
        .wait_for_answer("update", |status| status.contains(&kept))
        .map(drop)
}

/// Restarts a device into the release that is ready, and waits until it has reset itself.
///
/// # Errors
///
/// Fails when the device refuses, or does not restart.
pub fn restart(machine: &mut Machine) -> Result<()> {
    forget_resets(machine)?;
    machine.hyper("update restart")?;
    wait_for_reset(machine).map(drop)
}

/// Takes no notice of resets until now: OVMF resets once by itself when its variables are new, and so
/// does a release that was given up.
///
/// # Errors
///
/// Fails when the machine has ended.
pub fn forget_resets(machine: &mut Machine) -> Result<()> {
    while machine.qmp().event("RESET", Instant::now())?.is_some() {}
    Ok(())
}

/// Waits until a device that is to restart has reset itself. QEMU's word for it, which has its time.
///
/// # Errors
///
/// Fails when it does not, or has ended.
pub fn wait_for_reset(machine: &mut Machine) -> Result<Value> {
    machine.console().disconnect();
    let reset = machine.qmp().event("RESET", Instant::now() + LIMIT)?;
    reset.with_context(|| machine.evidence("the device did not restart"))
}

fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(work)
}
