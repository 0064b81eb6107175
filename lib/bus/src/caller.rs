//! Who calls, and what it may call.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who made a call. Every handler gets one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Caller {
    /// The user id under which the program runs, as the kernel says.
    pub user: u32,
    /// Its process id as the kernel says, in this process's own pid namespace: 0 when it is not
    /// visible from there. For messages only; a number may be used again.
    pub process: i32,
    /// The program's name, as its manifest has it; none when no manifest has that user.
    pub program: Option<Arc<str>>,
}

impl Caller {
    /// The program's name, or its user where it has none: for messages.
    pub fn name(&self) -> String {
        match &self.program {
            Some(program) => program.to_string(),
            None => format!("user {}", self.user),
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
    fn broken_grants_are_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(Grants::path(folder.path()), "[[program]]\nname = 3").unwrap();
        let error = Grants::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("grants.toml"), "{error}");
    }
}
