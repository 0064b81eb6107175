//! Service manifests: what a service is, what it may touch, and what happens when it ends.
//!
//! A manifest is a TOML file in `/system/services`; its name without `.toml` is the service's.
//! Every key has one meaning and one place; a key that is not known here is an error, since a
//! limit with a typing mistake in its name must not become no limit. Errors name the file, the
//! line, the column and the reason, and cost only the service that the file describes.

mod error;
mod interface;
pub(crate) mod quantity;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

pub use error::ManifestError;
pub use interface::Interface;
pub use words::{Capability, DeviceGroup, Measure};

/// User ids below this one belong to nobody's service: 0 is process 1's own.
pub const FIRST_USER: u32 = 1000;

/// What a manifest says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The service's name: the file's, without `.toml`.
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// The executable.
    pub program: PathBuf,
    /// What follows the program's name.
    pub arguments: Vec<String>,
    /// Its user and group id.
    pub user: u32,
    /// The interfaces that it serves, in the order of its sockets.
    pub serves: Vec<Interface>,
    /// Those of them that other devices of the family may reach too, as far as the family grants it.
    pub shares: Vec<Interface>,
    /// The interfaces that it may call.
    pub calls: Vec<Interface>,
    /// Whether it carries calls between devices: it may open the sockets of all that is shared, and
    /// its word for which device calls is taken. One service of a device may.
    pub carries: bool,
    /// What starts it.
    pub start: Start,
    /// What it may touch beyond what every service may.
    pub access: Access,
    /// What it may use up.
    pub limits: Limits,
    /// How soon it is started again.
    pub restart: Restart,
    /// How often it is asked whether it can still do its work, if at all.
    pub health: Option<Health>,
    /// The measures of the sandbox that are lifted, with the reason of each.
    pub exceptions: BTreeMap<Measure, String>,
}

/// What starts a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The start of the device, before everything else: what starts at `boot` is held until this
    /// service has answered. For the screen, which a person waits for.
    First,
    /// The start of the device.
    Boot,
    /// The first call of an interface that it serves.
    #[default]
    Call,
}

/// What a service may touch beyond its own program, its own folders and what describes the product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Files and folders that it may read.
    pub read: Vec<PathBuf>,
    /// Groups of device nodes that it may open.
    pub devices: BTreeSet<DeviceGroup>,
    /// Whether it sees the links of the device. Otherwise it has a network namespace with nothing
    /// in it, and cannot even ask for a socket of the Internet.
    pub network: bool,
    /// The capabilities that it keeps.
    pub capabilities: BTreeSet<Capability>,
}

/// What a service may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory; beyond, the kernel ends the service.
    pub memory: u64,
    /// Percent of one processor core; `None` for no limit.
    pub processor: Option<u32>,
    /// Processes and threads together.
    pub processes: u32,
}

/// How soon a service is started again after an end that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The delay after the first such end; it doubles with each that follows.
    pub first_delay: Duration,
    /// What the delay grows to.
    pub longest_delay: Duration,
    /// A service that ran so long is taken to be well: the next delay is the first one again.
    pub steady: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(10),
            longest_delay: Duration::from_secs(30),
            steady: Duration::from_secs(60),
        }
    }
}

/// When a service is asked whether it can still do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// From one answer to the next question.
    pub every: Duration,
    /// By when it must have answered; otherwise it is killed and started again.
    pub within: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    description: String,
    program: Spanned<PathBuf>,
    #[serde(default)]
    arguments: Vec<Spanned<String>>,
    user: Spanned<u32>,
    #[serde(default)]
    serves: Vec<Spanned<String>>,
    #[serde(default)]
    shares: Vec<Spanned<String>>,
    #[serde(default)]
    calls: Vec<Spanned<String>>,
    #[serde(default)]
    carries: bool,
    #[serde(default)]
    start: Start,
    #[serde(default)]
    access: RawAccess,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    restart: RawRestart,
    health: Option<RawHealth>,
    #[serde(default)]
    exceptions: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccess {
    #[serde(default)]
    read: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    devices: BTreeSet<DeviceGroup>,
    #[serde(default)]
    network: bool,
    #[serde(default)]
    capabilities: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    memory: Option<Spanned<String>>,
    processor: Option<Spanned<u32>>,
    processes: Option<Spanned<u32>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRestart {
    first_delay: Option<Spanned<String>>,
    longest_delay: Option<Spanned<String>>,
    steady: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHealth {
    every: Spanned<String>,
    within: Spanned<String>,
}

/// A reason and the place in the text that it is about.
type Fault = (Range<usize>, String);

impl Manifest {
    /// Reads the manifest of the service `name` from the text of `file`, which is only named in
    /// errors.
    ///
    /// # Errors
    /// When the text is no TOML, lacks something, or says something that cannot be meant.
    pub fn parse(name: &str, file: &Path, text: &str) -> Result<Self, ManifestError> {
        let fault = |(span, reason): Fault| ManifestError::new(file, text, span, reason);
        if !is_name(name) {
            let reason = format!(
                "`{name}` is not a service's name: lower-case letters, digits and single hyphens, at most 32"
            );
            return Err(fault((0..0, reason)));
        }
        let raw: RawManifest = toml::from_str(text).map_err(|error| {
            fault((
                error.span().unwrap_or(0..0),
                error.message().trim().to_owned(),
            ))
        })?;
        Self::check(name, raw).map_err(fault)
    }

    fn check(name: &str, raw: RawManifest) -> Result<Self, Fault> {
        let program = absolute(raw.program)?;
        for argument in &raw.arguments {
            if argument.get_ref().contains('\0') {
                return Err((argument.span(), "an argument cannot contain NUL".into()));
            }
        }
        if *raw.user.get_ref() < FIRST_USER || *raw.user.get_ref() >= 60_000 {
            let reason = format!("a service's user is from {FIRST_USER} to 59999");
            return Err((raw.user.span(), reason));
        }
        let capabilities = raw.access.capabilities.into_iter().map(|name| {
            let span = name.span();
            name.into_inner().parse().map_err(|reason| (span, reason))
        });
        let access = Access {
            read: raw
                .access
                .read
                .into_iter()
                .map(absolute)
                .collect::<Result<_, _>>()?,
            devices: raw.access.devices,
            network: raw.access.network,
            capabilities: capabilities.collect::<Result<_, _>>()?,
        };
        let standard = Restart::default();
        let restart = Restart {
            first_delay: duration(raw.restart.first_delay, standard.first_delay)?,
            longest_delay: duration(raw.restart.longest_delay, standard.longest_delay)?,
            steady: duration(raw.restart.steady, standard.steady)?,
        };
        let health = raw.health.map(|health| {
            let zero = Duration::ZERO;
            Ok::<_, Fault>(Health {
                every: duration(Some(health.every), zero)?,
                within: duration(Some(health.within), zero)?,
            })
        });
        let serves = interfaces(raw.serves)?;
        for shared in &raw.shares {
            if !serves
                .iter()
                .any(|served| served.as_str() == shared.get_ref())
            {
                let reason = format!(
                    "{} is shared with other devices but does not stand under `serves`",
                    shared.get_ref()
                );
                return Err((shared.span(), reason));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            description: raw.description,
            program,
            arguments: raw.arguments.into_iter().map(Spanned::into_inner).collect(),
            user: raw.user.into_inner(),
            serves,
            shares: interfaces(raw.shares)?,
            calls: interfaces(raw.calls)?,
            carries: raw.carries,
            start: raw.start,
            access,
            limits: limits(raw.limits)?,
            restart,
            health: health.transpose()?,
            exceptions: exceptions(raw.exceptions)?,
        })
    }

    /// Whether a measure of the sandbox applies.
    pub fn applies(&self, measure: Measure) -> bool {
        !self.exceptions.contains_key(&measure)
    }
}

/// Reads every manifest in a folder, in the order of names. What is broken stands in the list with
/// its reason; when two services claim one interface or one user, the later one is broken.
///
/// # Errors
/// When the folder cannot be listed.
pub fn load(folder: &Path) -> std::io::Result<Vec<(String, Result<Manifest, ManifestError>)>> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let loaded = files.into_iter().map(|file| {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let manifest = std::fs::read_to_string(&file)
            .map_err(|error| {
                ManifestError::new(&file, "", 0..0, format!("cannot be read: {error}"))
            })
            .and_then(|text| {
                let manifest = Manifest::parse(&name, &file, &text)?;
                let claims = manifest
                    .serves
                    .iter()
                    .map(|interface| format!("interface {interface}"))
                    .chain([format!("user {}", manifest.user)])
                    .chain(manifest.carries.then(|| "`carries`".to_owned()));
                for claim in claims.clone() {
                    if let Some(other) = taken.get(&claim) {
                        let reason = format!("{claim} is that of service `{other}` already");
                        return Err(ManifestError::new(&file, &text, 0..0, reason));
                    }
                }
                taken.extend(claims.map(|claim| (claim, name.clone())));
                Ok(manifest)
            });
        (name, manifest)
    });
    Ok(loaded.collect())
}

/// Names become folders, control groups and words on a screen.
fn is_name(name: &str) -> bool {
    interface::is_label(name) && name.len() <= 32
}

fn absolute(path: Spanned<PathBuf>) -> Result<PathBuf, Fault> {
    use std::path::Component;
    let span = path.span();
    let path = path.into_inner();
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err((
            span,
            format!("`{}` is not a path from / without `..`", path.display()),
        ));
    }
    if path == Path::new("/") {
        return Err((
            span,
            "a service is given parts of the system, never all of it".into(),
        ));
    }
    Ok(path)
}

fn interfaces(texts: Vec<Spanned<String>>) -> Result<Vec<Interface>, Fault> {
    let mut interfaces = Vec::with_capacity(texts.len());
    for text in texts {
        let interface: Interface = text
            .get_ref()
            .parse()
            .map_err(|reason| (text.span(), reason))?;
        if interfaces.contains(&interface) {
            return Err((text.span(), format!("{interface} stands here twice")));
        }
        interfaces.push(interface);
    }
    Ok(interfaces)
}

fn duration(text: Option<Spanned<String>>, standard: Duration) -> Result<Duration, Fault> {
    text.map_or(Ok(standard), |text| {
        quantity::duration(text.get_ref()).map_err(|reason| (text.span(), reason))
    })
}

fn limits(raw: RawLimits) -> Result<Limits, Fault> {
    let memory = raw.memory.map(|text| {
        let bytes = quantity::bytes(text.get_ref()).map_err(|reason| (text.span(), reason))?;
        if bytes < 1 << 20 {
            return Err((text.span(), "no service fits in less than 1 MiB".to_owned()));
        }
        Ok(bytes)
    });
    let at_least_one = |value: Option<Spanned<u32>>, what: &str| match value {
        Some(value) if *value.get_ref() == 0 => {
            Err((value.span(), format!("with no {what} a service cannot run")))
        }
        value => Ok(value.map(Spanned::into_inner)),
    };
    Ok(Limits {
        memory: memory.transpose()?.unwrap_or(64 << 20),
        processor: at_least_one(raw.processor, "processor time")?,
        processes: at_least_one(raw.processes, "process")?.unwrap_or(32),
    })
}

fn exceptions(
    raw: BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<BTreeMap<Measure, String>, Fault> {
    raw.into_iter()
        .map(|(name, reason)| {
            let measure = name
                .get_ref()
                .parse()
                .map_err(|reason| (name.span(), reason))?;
            if reason.get_ref().trim().len() < 10 {
                let fault = "an exception needs a reason that a reader can judge";
                return Err((reason.span(), fault.to_owned()));
            }
            Ok((measure, reason.into_inner()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
