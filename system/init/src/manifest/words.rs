//! The fixed words of manifests: groups of device nodes, capabilities, measures of the sandbox.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A group of device nodes that a service may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceGroup {
    /// Displays: `/dev/dri`.
    Dri,
    /// Touch screens, keys, mice: `/dev/input`.
    Input,
    /// Displays that only the firmware has set up: `/dev/fb0`.
    Framebuffer,
    /// The light behind a display: its folder of `/sys`, at `/dev/backlight`.
    Backlight,
    /// The host's ends of virtio-serial ports: `/dev/virtio-ports`.
    Console,
    /// The clock that runs while the device is off: `/dev/rtc0`.
    Rtc,
    /// The hardware watchdog: `/dev/watchdog`.
    Watchdog,
    /// The disks of the two slots, in `/dev/slots`: those of the slot that runs to be read, those of
    /// the other one to be written.
    Slots,
    /// Disks that somebody plugged in: `/dev/sticks`, to be read.
    Sticks,
}

impl DeviceGroup {
    /// Every group.
    pub const ALL: [Self; 9] = [
        Self::Dri,
        Self::Input,
        Self::Framebuffer,
        Self::Backlight,
        Self::Console,
        Self::Rtc,
        Self::Watchdog,
        Self::Slots,
        Self::Sticks,
    ];

    /// The group id that its nodes have.
    pub fn id(self) -> u32 {
        2001 + self as u32
    }

    /// The word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dri => "dri",
            Self::Input => "input",
            Self::Framebuffer => "framebuffer",
            Self::Backlight => "backlight",
            Self::Console => "console",
            Self::Rtc => "rtc",
            Self::Watchdog => "watchdog",
            Self::Slots => "slots",
            Self::Sticks => "sticks",
        }
    }
}

/// A part of root's power that a service may keep.
///
/// These are the ones that a service of this system can have a use for; those that amount to root
/// itself, such as `sys-admin`, cannot be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Links, addresses and routes.
    NetAdmin,
    /// Ports below 1024.
    NetBindService,
    /// Raw packets.
    NetRaw,
    /// A priority above the ordinary.
    SysNice,
    /// Setting the clock.
    SysTime,
}

impl Capability {
    /// The word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "net-admin",
            Self::NetBindService => "net-bind-service",
            Self::NetRaw => "net-raw",
            Self::SysNice => "sys-nice",
            Self::SysTime => "sys-time",
        }
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [
            Self::NetAdmin,
            Self::NetBindService,
            Self::NetRaw,
            Self::SysNice,
            Self::SysTime,
        ];
        all.into_iter()
            .find(|capability| capability.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = all.into_iter().map(Self::name).collect();
                format!(
                    "`{text}` is not a capability that a service may keep: {}",
                    names.join(", ")
                )
            })
    }
}

/// A measure of the sandbox that a manifest may lift with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// A view of files that holds nothing but what the manifest lists.
    MountNamespace,
    /// Sees no processes but its own.
    PidNamespace,
    /// Shares no System V or POSIX message queues.
    IpcNamespace,
    /// A host name of its own.
    UtsNamespace,
    /// Rules over files that hold even where the view of files does not.
    Landlock,
    /// A list of the system calls that it may make.
    SystemCalls,
}

impl Measure {
    /// Every measure that can be lifted.
    pub const ALL: [Self; 6] = [
        Self::MountNamespace,
        Self::PidNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::Landlock,
        Self::SystemCalls,
    ];

    /// The word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::MountNamespace => "mount-namespace",
            Self::PidNamespace => "pid-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::UtsNamespace => "uts-namespace",
            Self::Landlock => "landlock",
            Self::SystemCalls => "system-calls",
        }
    }
}

impl FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|measure| measure.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
                format!(
                    "`{text}` is not a measure of the sandbox: {}",
                    names.join(", ")
                )
            })
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
