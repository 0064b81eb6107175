//! Who calls, and what it may call.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who made a call. Every handler gets one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Caller {
    /// A program of this device.
    Program(Program),
    /// Another device of the family.
    Device(Device),
}

/// A program of this device that calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// The user id under which the program runs, as the kernel says.
    pub user: u32,
    /// Its process id as the kernel says, in this process's own pid namespace: 0 when it is not
    /// visible from there. For messages only; a number may be used again.
    pub process: i32,
    /// The program's name, as its manifest has it; none when no manifest has that user.
    pub name: Option<Arc<str>>,
}

/// Another device of the family that calls. `mesh` has seen the proof that it is this one, and that
/// the family lets it call the interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Its public key: 64 hexadecimal digits.
    pub id: Arc<str>,
    /// What the owner calls it. Names change; decide by the id.
    pub name: Arc<str>,
    /// Which program there calls, as that device claims. For messages only.
    pub program: Option<Arc<str>>,
}

impl Caller {
    /// Who it is, for messages: the program's name, or its user where it has none, or the device.
    /// No program's name is ever that of a device, for those have a space in them.
    pub fn name(&self) -> String {
        match self {
            Self::Program(Program {
                name: Some(name), ..
            }) => name.to_string(),
            Self::Program(Program { user, .. }) => format!("user {user}"),
            Self::Device(device) => format!("device {}", device.name),
        }
    }

    /// The user id of a program of this device; none for another device.
    pub fn user(&self) -> Option<u32> {
        match self {
            Self::Program(program) => Some(program.user),
            Self::Device(_) => None,
        }
    }

    /// The other device, if one calls.
    pub fn device(&self) -> Option<&Device> {
        match self {
            Self::Program(_) => None,
            Self::Device(device) => Some(device),
        }
    }
}

/// Which program runs under which user, and what each may call: `grants.toml` beside the sockets.
///
/// Process 1 writes it from the manifests; servers read it when a connection is made.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Grants {
    /// One for each service.
    #[serde(default, rename = "program")]
    pub programs: Vec<Grant>,
}

/// What one program may call.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Grant {
    /// The name of its manifest.
    pub name: String,
    /// Its user id.
    pub user: u32,
    /// Interfaces in full, such as `hyper:settings/settings@1.0.0`.
    #[serde(default)]
    pub calls: Vec<String>,
    /// Whether it carries calls between devices, and so may speak for other devices.
    #[serde(default)]
    pub carries: bool,
}

impl Grants {
    /// Where the grants of a bus folder stand.
    pub fn path(bus: &Path) -> PathBuf {
        bus.join("grants.toml")
    }

    /// Reads them. A missing file grants nothing; a broken one is an error.
    pub fn load(bus: &Path) -> io::Result<Self> {
        let path = Self::path(bus);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: {error}", path.display()),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes them in one step, so that no reader sees half of them.
    pub fn store(&self, bus: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let new = bus.join("grants.toml.new");
        fs::write(&new, text)?;
        fs::rename(new, Self::path(bus))
    }

    /// Whether a user may call an interface of a server that runs as user `own`.
    ///
    /// Root may anyway; and where no manifest has the user and the server runs as the same one, as
    /// on a desktop, there is no boundary between the two that this could guard.
    pub fn allow(&self, user: u32, interface: &str, own: u32) -> bool {
        match self.of_user(user) {
            _ if user == 0 => true,
            Some(grant) => grant.calls.iter().any(|call| call == interface),
            None => user == own,
        }
    }

    /// Whether a user may speak for other devices to a server that runs as user `own`: the one
    /// program that carries their calls may. Where no manifest has the user, the boundary is that
    /// of [`Grants::allow`].
    pub fn allow_carrying(&self, user: u32, own: u32) -> bool {
        match self.of_user(user) {
            Some(grant) => grant.carries,
            None => user == own,
        }
    }

    /// The program that runs under a user.
    pub fn of_user(&self, user: u32) -> Option<&Grant> {
        self.programs.iter().find(|program| program.user == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Grants::load(folder.path()).unwrap(), Grants::default());
        let grants = Grants {
            programs: vec![Grant {
                name: "shell".into(),
                user: 1004,
                calls: vec!["hyper:time/time@1.0.0".into()],
                carries: false,
            }],
        };
        grants.store(folder.path()).unwrap();
        assert_eq!(Grants::load(folder.path()).unwrap(), grants);
        assert_eq!(grants.of_user(1004).unwrap().name, "shell");
        assert_eq!(grants.of_user(1005), None);
    }

    #[test]
    fn a_program_calls_what_its_manifest_lists_and_nothing_else() {
        let calls = vec!["hyper:time/time@1.0.0".to_owned()];
        let grants = Grants {
            programs: vec![Grant {
                name: "shell".into(),
                user: 1004,
                calls,
                carries: false,
            }],
        };
        assert!(grants.allow(1004, "hyper:time/time@1.0.0", 1003));
        assert!(!grants.allow(1004, "hyper:time/time@1.1.0", 1003));
        assert!(!grants.allow(1004, "hyper:power/power@1.0.0", 0));
        // Not even when it asks a server of its own user: on a device each has its own.
        assert!(!grants.allow(1004, "hyper:power/power@1.0.0", 1004));
        assert!(
            !grants.allow(1005, "hyper:time/time@1.0.0", 1003),
            "nobody's manifest"
        );
        assert!(
            !grants.allow(1005, "hyper:time/time@1.0.0", 0),
            "nor is it root's own"
        );
        assert!(grants.allow(0, "hyper:power/power@1.0.0", 1003), "root");
        assert!(
            grants.allow(1000, "hyper:time/time@1.0.0", 1000),
            "a desktop"
        );
    }

    #[test]
    fn only_the_program_that_carries_calls_speaks_for_other_devices() {
        let program = |name: &str, user, carries| Grant {
            name: name.into(),
            user,
            calls: Vec::new(),
            carries,
        };
        let grants = Grants {
            programs: vec![program("mesh", 1006, true), program("shell", 1004, false)],
        };
        assert!(grants.allow_carrying(1006, 1003));
        assert!(!grants.allow_carrying(1004, 1003));
        assert!(
            !grants.allow_carrying(1004, 1004),
            "not even to a server of its own user"
        );
        assert!(
            !grants.allow_carrying(0, 1003),
            "nor is root another device"
        );
        assert!(grants.allow_carrying(1000, 1000), "a desktop");
    }

    #[test]
    fn broken_grants_are_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(Grants::path(folder.path()), "[[program]]\nname = 3").unwrap();
        let error = Grants::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("grants.toml"), "{error}");
    }
}
