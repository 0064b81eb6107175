//! Control groups (version 2): what a service may use up, what it has used, and its end.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::manifest::Limits;

/// Where the hierarchy is mounted.
pub const ROOT: &str = "/sys/fs/cgroup";
/// The period over which processor time is shared out, in microseconds. A tenth of a second, the
/// kernel's own choice.
const PERIOD: u64 = 100_000;

/// Makes the group below which every service has its own, with the controllers that limits need.
///
/// # Errors
/// When the kernel lacks one of the controllers.
pub fn prepare(root: &Path) -> Result<PathBuf> {
    let services = root.join("services");
    for folder in [root, services.as_path()] {
        if !folder.is_dir() {
            std::fs::create_dir(folder)
                .with_context(|| format!("making the control group {}", folder.display()))?;
        }
        let control = folder.join("cgroup.subtree_control");
        std::fs::write(&control, "+memory +cpu +pids")
            .with_context(|| format!("turning on limits in {}", control.display()))?;
    }
    Ok(services)
}

/// One service's group.
#[derive(Clone, Debug)]
pub struct Group(PathBuf);

/// What a group has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory, now.
    pub memory: u64,
    /// Microseconds of processor time, since the group was made.
    pub processor: u64,
    /// How often the kernel ended a process of it for want of memory.
    pub memory_kills: u64,
}

impl Group {
    /// Makes the group of a service, or takes the one that there is, and sets its limits.
    ///
    /// # Errors
    /// When the group cannot be made or a limit not be set.
    pub fn make(services: &Path, name: &str, limits: &Limits) -> Result<Self> {
        let folder = services.join(name);
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error)
                    .with_context(|| format!("making the control group {}", folder.display()));
            }
            _ => {}
        }
        let group = Self(folder);
        for (file, text) in limit_files(limits) {
            let file = group.0.join(file);
            std::fs::write(&file, &text)
                .with_context(|| format!("writing `{text}` to {}", file.display()))?;
        }
        // A service that has used up its memory is ended as a whole, never left with parts missing.
        let _ = std::fs::write(group.0.join("memory.oom.group"), "1");
        Ok(group)
    }

    /// The group's folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Holds the group to its share of the processor, or lets it have what it needs for a start.
    ///
    /// The share is handed out by tenths of a second: a service with a half of a core that needs 60
    /// ms of it to start would stand still for 50 of them in between, and more so the smaller its
    /// share. A start is bounded by time, and so does not need to be bounded by this.
    pub fn hold_processor(&self, limits: &Limits, held: bool) {
        let text = processor(limits.processor.filter(|_| held));
        // A group that is gone is made anew with its limits when its service is started.
        let _ = std::fs::write(self.0.join("cpu.max"), text);
    }

    /// Ends every process of the group at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> io::Result<()> {
        std::fs::write(self.0.join("cgroup.kill"), "1")
    }

    /// What the group has used; what cannot be read counts as nothing.
    pub fn usage(&self) -> Usage {
        let read = |file: &str| std::fs::read_to_string(self.0.join(file)).unwrap_or_default();
        Usage {
            memory: read("memory.current").trim().parse().unwrap_or(0),
            processor: value(&read("cpu.stat"), "usage_usec").unwrap_or(0),
            memory_kills: value(&read("memory.events"), "oom_kill").unwrap_or(0),
        }
    }

    /// The processes of the group.
    pub fn processes(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

/// The files of a group by which limits are set.
fn limit_files(limits: &Limits) -> Vec<(&'static str, String)> {
    vec![
        ("memory.max", limits.memory.to_string()),
        ("cpu.max", processor(limits.processor)),
        ("pids.max", limits.processes.to_string()),
    ]
}

/// A share of the processor in the kernel's words.
fn processor(percent: Option<u32>) -> String {
    percent.map_or_else(
        || format!("max {PERIOD}"),
        |percent| format!("{} {PERIOD}", u64::from(percent) * PERIOD / 100),
    )
}

/// The value of a key in a file of `key value` lines.
pub fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_become_the_kernels_words() {
        let limits = Limits {
            memory: 32 << 20,
            processor: Some(50),
            processes: 16,
        };
        assert_eq!(
            limit_files(&limits),
            [
                ("memory.max", "33554432".to_owned()),
                ("cpu.max", "50000 100000".to_owned()),
                ("pids.max", "16".to_owned()),
            ]
        );
    }

    #[test]
    fn a_start_is_not_held_to_the_share_of_the_processor() {
        let folder = tempfile::tempdir().unwrap();
        let group = Group(folder.path().to_owned());
        let limits = Limits {
            memory: 1 << 20,
            processor: Some(20),
            processes: 4,
        };
        let share = || std::fs::read_to_string(folder.path().join("cpu.max")).unwrap();
        group.hold_processor(&limits, false);
        assert_eq!(share(), "max 100000");
        group.hold_processor(&limits, true);
        assert_eq!(share(), "20000 100000");
    }

    #[test]
    fn usage_is_read_from_the_groups_files() {
        let folder = tempfile::tempdir().unwrap();
        let group = Group(folder.path().to_owned());
        assert_eq!(group.usage(), Usage::default());
        for (file, text) in [
            ("memory.current", "4096\n"),
            ("cpu.stat", "usage_usec 120\nuser_usec 100\n"),
            (
                "memory.events",
                "low 0\noom 1\noom_kill 2\noom_group_kill 1\n",
            ),
            ("cgroup.procs", "12\n70\n"),
        ] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let usage = Usage {
            memory: 4096,
            processor: 120,
            memory_kills: 2,
        };
        assert_eq!(group.usage(), usage);
        assert_eq!(group.processes(), [12, 70]);
    }

    proptest! {
        #[test]
        fn no_text_ends_the_reader(text in "\\PC*", key in "[a-z_]{1,8}") {
            let _ = value(&text, &key);
        }
    }
}
