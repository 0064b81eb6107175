//! The power that a service has: its user, its capabilities, and Landlock's rules over files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use landlock::{
    ABI, Access as _, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};
use rustix::fs::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use super::files::Files;
use crate::manifest::{Capability, DeviceGroup, Manifest};

/// What Landlock lets a service do, by path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Paths {
    /// Run and read.
    pub run: Vec<PathBuf>,
    /// Read.
    pub read: Vec<PathBuf>,
    /// Open for reading and writing, but neither make nor remove.
    pub open: Vec<PathBuf>,
    /// Anything but run.
    pub write: Vec<PathBuf>,
}

impl Paths {
    pub(super) fn of_device(files: &Files, program: &Path, manifest: &Manifest) -> Self {
        let mut open = vec![PathBuf::from("/dev")];
        if manifest.access.capabilities.contains(&Capability::NetAdmin) {
            open.push("/proc/sys/net".into());
        }
        let mut read = files.read.clone();
        read.push(files.bus[0].clone());
        if files.kernel_settings {
            // The whole of /proc is mounted, for these settings are not to be had alone; what else
            // it tells of the kernel (its symbols, its keys) is nothing to the service.
            read.extend(["/proc/self", "/proc/sys/net"].map(PathBuf::from));
        } else {
            read.push("/proc".into());
        }
        Self {
            run: vec![program.to_owned()],
            read,
            open,
            write: files.write.clone(),
        }
    }

    pub(super) fn of_layer(data: &Path, run: &Path) -> Self {
        // A desktop's programs read libraries, fonts and drivers from everywhere, and speak to the
        // display by sockets and shared memory.
        let mut write: Vec<PathBuf> = vec![data.to_owned(), run.to_owned(), "/tmp".into()];
        write.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
        Self {
            run: vec!["/".into()],
            read: Vec::new(),
            open: vec!["/dev".into(), "/proc".into()],
            write: write.into_iter().chain(["/dev/shm".into()]).collect(),
        }
    }

    /// Holds the calling process to these paths, for good.
    ///
    /// # Errors
    /// When the kernel has no Landlock.
    pub fn restrict(&self) -> Result<()> {
        // What newer kernels can refuse beyond this is refused there, and not missed on older ones.
        let all = AccessFs::from_all(ABI::V4);
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let mut rules = Ruleset::default()
            .handle_access(all)
            .and_then(Ruleset::create)
            .context("making Landlock's rules")?;
        let groups = [
            (&self.run, read | AccessFs::Execute),
            (&self.read, read),
            (&self.open, read | AccessFs::WriteFile),
            (&self.write, all & !AccessFs::Execute),
        ];
        for (paths, access) in groups {
            for path in paths {
                let Ok(file) = PathFd::new(path) else {
                    continue;
                };
                let access = if path.is_dir() {
                    access
                } else {
                    access & AccessFs::from_file(ABI::V4)
                };
                rules = rules
                    .add_rule(PathBeneath::new(file, access))
                    .with_context(|| format!("adding {} to Landlock's rules", path.display()))?;
            }
        }
        match rules
            .restrict_self()
            .context("beginning Landlock's rules")?
            .ruleset
        {
            RulesetStatus::NotEnforced => bail!("the kernel has no Landlock"),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }
}

fn set_of(capability: Capability) -> CapabilitySet {
    match capability {
        Capability::NetAdmin => CapabilitySet::NET_ADMIN,
        Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        Capability::NetRaw => CapabilitySet::NET_RAW,
        Capability::SysNice => CapabilitySet::SYS_NICE,
        Capability::SysTime => CapabilitySet::SYS_TIME,
    }
}

/// Becomes an ordinary user with no power of root but the capabilities listed.
///
/// The calling process must have one thread.
///
/// # Errors
/// When the kernel refuses a step; the process must then not go on.
pub fn become_user(
    user: u32,
    devices: &BTreeSet<DeviceGroup>,
    capabilities: &BTreeSet<Capability>,
) -> Result<()> {
    let keep = capabilities
        .iter()
        .fold(CapabilitySet::empty(), |set, &one| set | set_of(one));
    // First, what could never be gained back even by a set-user-id program.
    for capability in CapabilitySet::all().iter() {
        let known = rustix::thread::capability_is_in_bounding_set(capability);
        if !keep.contains(capability) && known == Ok(true) {
            rustix::thread::remove_capability_from_bounding_set(capability)
                .context("giving up capabilities for good")?;
        }
    }
    let groups: Vec<_> = devices
        .iter()
        .map(|group| Gid::from_raw(group.id()))
        .collect();
    rustix::thread::set_thread_groups(&groups).context("taking the groups of the device nodes")?;
    let group = Gid::from_raw(user);
    rustix::thread::set_thread_res_gid(group, group, group)
        .context("becoming the service's group")?;
    rustix::thread::set_keep_capabilities(true).context("keeping the listed capabilities")?;
    let user = Uid::from_raw(user);
    rustix::thread::set_thread_res_uid(user, user, user).context("becoming the service's user")?;
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: keep,
    };
    rustix::thread::set_capabilities(None, sets).context("giving up all other capabilities")?;
    for capability in keep.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .context("keeping a capability for the program")?;
    }
    Ok(())
}
