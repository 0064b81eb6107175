//! The sandbox of a service: what it sees, what it may do, and how that comes about.
//!
//! A [`Plan`] is everything that a sandbox is made of, worked out from the manifest. Process 1
//! makes a process in new namespaces and in the service's control group ([`crate::spawn`]); that
//! process runs this same program as `init enter`, carries out the plan on itself
//! (`enter`) and then becomes the service. What it has given up by then it cannot take back.
//!
//! In the order in which it is done:
//!
//! 1. **Namespaces**: pid, ipc, uts, mount, and network unless the manifest says `network = true`.
//! 2. **Files** ([`files`]): a root of its own, empty but for the program, what describes the
//!    product, what `read` lists, its two folders, the sockets it may call, its device nodes.
//! 3. **Power** ([`rights`]): its own user and groups, no capability but those listed, none to gain.
//! 4. **Landlock** ([`rights`]): the same rules over files once more, by another mechanism.
//! 5. **System calls** ([`calls`]): a list; anything else fails with EPERM and stands in the log.
//!
//! What an ordinary user cannot set up (a layer on another system) is left out, and
//! [`Plan::measures`] says so.

pub mod calls;
pub mod enter;
pub mod files;
pub mod give;
pub mod rights;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manifest::{Capability, DeviceGroup, Interface, Manifest, Measure};

/// Where things are: on a device below `/`, as a layer where its arguments say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The system's own files, `/system` on a device.
    pub system: PathBuf,
    /// What is kept, `/data` on a device.
    pub data: PathBuf,
    /// What lasts until the next start, `/run` on a device.
    pub run: PathBuf,
    /// Whether this is an ordinary user's process rather than process 1.
    pub layer: bool,
}

impl Place {
    /// The place of a device.
    pub fn device() -> Self {
        Self {
            system: "/system".into(),
            data: "/data".into(),
            run: "/run".into(),
            layer: false,
        }
    }

    /// The folder of the sockets.
    pub fn bus(&self) -> PathBuf {
        self.run.join("bus")
    }

    /// A path of the device, in this place: what is below `/system` moves with it.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        path.strip_prefix("/system")
            .map_or_else(|_| path.to_owned(), |rest| self.system.join(rest))
    }
}

/// Everything that a sandbox is made of, and what runs in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The service's name.
    pub service: String,
    /// The executable.
    pub program: PathBuf,
    /// What follows the program's name.
    pub arguments: Vec<String>,
    /// The whole environment, but for what is only known in the process itself.
    pub environment: Vec<(String, String)>,
    /// Its own folder below the data.
    pub data: PathBuf,
    /// Its own folder that lasts until the next start.
    pub run: PathBuf,
    /// Whether new pid, ipc, uts and network namespaces are made, in this order.
    pub namespaces: [bool; 4],
    /// What its files are; `None` for those of the whole system.
    pub files: Option<files::Files>,
    /// Its user and group; `None` for those of whoever runs this.
    pub user: Option<u32>,
    /// The groups of its device nodes.
    pub devices: BTreeSet<DeviceGroup>,
    /// The capabilities that it keeps.
    pub capabilities: BTreeSet<Capability>,
    /// The paths by which Landlock holds it.
    pub landlock: Option<rights::Paths>,
    /// Which system calls it may make; `None` for all.
    pub calls: Option<calls::Allowed>,
    /// Whether it ends when this program does. Process 1 does not end.
    pub end_with_parent: bool,
}

impl Plan {
    /// Works out the sandbox of a service.
    pub fn new(manifest: &Manifest, place: &Place) -> Self {
        let data = place.data.join(&manifest.name);
        let run = place.run.join(&manifest.name);
        let program = place.resolve(&manifest.program);
        let whole = !place.layer;
        let applies = |measure| whole && manifest.applies(measure);
        let files = files::Files::new(manifest, place, &program, &data, &run);
        let landlock = manifest.applies(Measure::Landlock).then(|| {
            if place.layer {
                rights::Paths::of_layer(&data, &run)
            } else {
                rights::Paths::of_device(&files, &program, manifest)
            }
        });
        Self {
            service: manifest.name.clone(),
            arguments: manifest.arguments.clone(),
            environment: environment(manifest, place, &data, &run),
            namespaces: [
                applies(Measure::PidNamespace),
                applies(Measure::IpcNamespace),
                applies(Measure::UtsNamespace),
                whole && !manifest.access.network,
            ],
            files: applies(Measure::MountNamespace).then_some(files),
            user: whole.then_some(manifest.user),
            devices: manifest.access.devices.clone(),
            capabilities: manifest.access.capabilities.clone(),
            landlock,
            calls: manifest
                .applies(Measure::SystemCalls)
                .then(|| calls::Allowed::new(&manifest.access)),
            end_with_parent: place.layer,
            program,
            data,
            run,
        }
    }

    /// The same sandbox around another program, which it then shows too.
    pub fn for_program(&self, program: &Path, arguments: Vec<String>) -> Self {
        let mut plan = self.clone();
        plan.program = program.to_owned();
        plan.arguments = arguments;
        if let Some(files) = &mut plan.files
            && !files.read.iter().any(|path| path == program)
        {
            files.read.push(program.to_owned());
        }
        if let Some(paths) = &mut plan.landlock {
            paths.run.push(program.to_owned());
        }
        plan
    }

    /// The sandbox, a line a measure, for whoever asks what holds a service.
    pub fn measures(&self, manifest: &Manifest, place: &Place, limited: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let missing = "not available to an ordinary user";
        lines.push(match self.user {
            Some(user) => format!("user: {user}, its own"),
            None => format!("user: that of the layer; its own is {missing}"),
        });
        let mut measure = |measure: Measure, on: bool, what: &str| {
            lines.push(match manifest.exceptions.get(&measure) {
                Some(reason) => format!("{measure}: EXCEPTION: {reason}"),
                None if on => format!("{measure}: {what}"),
                None => format!("{measure}: {missing}"),
            });
        };
        let [pid, ipc, uts, network] = self.namespaces;
        measure(
            Measure::MountNamespace,
            self.files.is_some(),
            "its own root, with what the manifest lists",
        );
        measure(Measure::PidNamespace, pid, "its own");
        measure(Measure::IpcNamespace, ipc, "its own");
        measure(Measure::UtsNamespace, uts, "its own");
        let landlock = if place.layer {
            "writes only in its own folders"
        } else {
            "the same files once more"
        };
        measure(Measure::Landlock, self.landlock.is_some(), landlock);
        measure(
            Measure::SystemCalls,
            self.calls.is_some(),
            "a list; what is not on it is refused and logged",
        );
        lines.push(match (network, manifest.access.network) {
            (true, _) => "network: none".to_owned(),
            (false, true) => "network: the device's, as the manifest says".to_owned(),
            (false, false) => "network: no sockets of it can be made".to_owned(),
        });
        let words = |words: Vec<&str>| {
            if words.is_empty() {
                "none".to_owned()
            } else {
                words.join(", ")
            }
        };
        let capabilities = if self.user.is_some() {
            manifest
                .access
                .capabilities
                .iter()
                .map(|c| c.name())
                .collect()
        } else {
            Vec::new()
        };
        lines.push(format!("capabilities: {}", words(capabilities)));
        lines.push(format!(
            "devices: {}",
            words(self.devices.iter().map(|d| d.name()).collect())
        ));
        let limits = &manifest.limits;
        lines.push(if limited {
            let processor = limits.processor.map_or("no limit".to_owned(), |percent| {
                format!("{percent} % of a core")
            });
            format!(
                "limits: {} MiB of memory, processor {processor}, {} processes",
                limits.memory >> 20,
                limits.processes
            )
        } else {
            format!("limits: {missing}")
        });
        lines
    }
}

/// By what a desktop tells its programs where its display and its pointer's pictures are. Services
/// that have a display on a device are told it in a layer; nothing else of the environment is passed.
const DESKTOP: [&str; 8] = [
    "DISPLAY",
    "XAUTHORITY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "HOME",
    "XCURSOR_PATH",
    "XCURSOR_SIZE",
    "XCURSOR_THEME",
];

fn environment(
    manifest: &Manifest,
    place: &Place,
    data: &Path,
    run: &Path,
) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let serves = manifest.serves.iter().map(ToString::to_string);
    let shares = manifest.shares.iter().map(Interface::shared);
    let interfaces: Vec<_> = serves.chain(shares).collect();
    let mut environment = vec![
        ("HYPER_BUS", text(&place.bus())),
        ("HYPER_DATA", text(data)),
        ("HYPER_SYSTEM", text(&place.system)),
        ("HYPER_RUN", text(run)),
        ("HYPER_SERVICE", manifest.name.clone()),
        ("HYPER_INTERFACES", interfaces.join(" ")),
        ("TMPDIR", text(run)),
    ];
    if !place.layer {
        environment.push(("HOME", text(data)));
        environment.push(("XDG_RUNTIME_DIR", text(run)));
    }
    let mut environment: Vec<_> = environment
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    if place.layer && manifest.access.devices.contains(&DeviceGroup::Dri) {
        let of_desktop = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        environment.extend(DESKTOP.into_iter().filter_map(of_desktop));
    }
    environment
}
