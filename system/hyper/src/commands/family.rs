//! The devices of the family, and how one comes into it.

use std::io::{BufReader, Write};

use anyhow::{Context as _, Result, anyhow, bail};
use bus::family::Role;
use bus::pairing::{Membership, Method, Stage};
use clap::{Subcommand, ValueEnum};
use futures::StreamExt as _;

use super::paper::{self, Lines};
use crate::table::{Table, moment};

/// What can be done with the family.
#[derive(Debug, Subcommand)]
pub enum FamilyAction {
    /// List its devices
    List,
    /// Let others nearby see this device and pair with it for two minutes
    Open {
        /// Let a new device restore the family of this one with the paper phrase instead
        #[arg(long)]
        recovery: bool,
    },
    /// End what `open`, `pair` or `recover` began
    Close,
    /// List the devices nearby that are open for pairing
    Nearby,
    /// Ask a device nearby into the family
    Pair {
        /// Its id, or the beginning of it
        candidate: String,
        /// The PIN that it shows
        #[arg(long, conflicts_with = "code")]
        pin: Option<String>,
        /// The code that it shows
        #[arg(long)]
        code: Option<String>,
        /// What to call it
        #[arg(long, default_value = "")]
        name: String,
        /// What it is to be
        #[arg(long = "as", value_enum, default_value_t = As::Shared)]
        membership: As,
    },
    /// Say that both devices show the same digits
    Confirm,
    /// Say that they do not, or that this is not wanted
    Refuse,
    /// Print how pairing stands, each time that it changes
    Pairing,
    /// Call a device something else, on every device
    Rename {
        /// Its name or id
        device: String,
        /// What to call it
        name: String,
    },
    /// Say in which room a device stands
    Room {
        /// Its name or id
        device: String,
        /// The room; without one, the device is taken out of the one in which it is
        room: Option<String>,
    },
    /// Have a device light up its screen and say which one it is
    LightUp {
        /// Its name or id
        device: String,
        /// For how long, in seconds
        #[arg(long, default_value_t = 30)]
        seconds: u32,
    },
    /// Take a device out
    Remove {
        /// Its name or id
        device: String,
        /// It is in unknown hands
        #[arg(long)]
        lost: bool,
    },
    /// Give the family a paper phrase: twelve words that save it when all owner devices are lost
    Paper {
        #[arg(skip)]
        input: Option<Lines>,
    },
    /// Restore a family on this device with its paper phrase, which is read from standard input
    Recover {
        /// The device of the family that lets this be done: its id, or the beginning of it
        #[arg(default_value = "")]
        candidate: String,
        /// What to call this device
        #[arg(long, default_value = "")]
        name: String,
        #[arg(skip)]
        input: Option<Lines>,
    },
}

impl FamilyAction {
    /// Takes standard input for what a person is asked. A console does not call this: there, standard input is
    /// more command lines.
    pub fn read_input(&mut self) {
        if let Self::Paper { input } | Self::Recover { input, .. } = self {
            *input = Some(Lines::of(BufReader::new(std::io::stdin())));
        }
    }
}

/// What a device is to be in the family.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum As {
    /// The owner's own
    Owner,
    /// One that many people use, such as a TV
    Shared,
    /// Somebody else's
    Guest,
}

/// Does it.
pub async fn run(bus: &bus::Client, action: FamilyAction, out: &mut impl Write) -> Result<()> {
    match action {
        FamilyAction::List => list(bus, out).await,
        FamilyAction::Open { recovery: true } => {
            let opened = bus::paper::open(bus).await?;
            opened.map_err(|error| {
                let why = mesh::paper::describe(&error);
                anyhow!("letting the family of this device be restored: {why}")
            })?;
            let devices = bus::family::devices(bus).await?;
            let here = devices.iter().find(|device| device.here);
            let here = here.map_or_else(String::new, |here| paper::short(&here.id));
            writeln!(
                out,
                "For two minutes, a new device nearby can restore the family by this one, {here}."
            )
            .context("printing")
        }
        FamilyAction::Open { recovery: false } => {
            let secrets = bus::pairing::open(bus)
                .await?
                .map_err(|reason| anyhow!("opening this device for pairing: {reason}"))?;
            writeln!(out, "PIN  {}\ncode {}", secrets.pin, secrets.code).context("printing")
        }
        FamilyAction::Close => {
            bus::paper::close(bus).await?;
            Ok(bus::pairing::close(bus).await?)
        }
        FamilyAction::Nearby => {
            for candidate in bus::pairing::candidates(bus).await? {
                writeln!(out, "{}", candidate.id)?;
            }
            Ok(())
        }
        FamilyAction::Pair {
            candidate,
            pin,
            code,
            name,
            membership,
        } => {
            let candidate = whole(bus, &candidate).await?;
            let (method, secret) = match (pin, code) {
                (Some(pin), _) => (Method::Pin, pin),
                (None, Some(code)) => (Method::Code, code),
                (None, None) => (Method::Digits, String::new()),
            };
            let membership = match membership {
                As::Owner => Membership::Owner,
                As::Shared => Membership::Shared,
                As::Guest => Membership::Guest,
            };
            bus::pairing::begin(bus, &candidate, &method, &secret, &name, &membership)
                .await?
                .map_err(|reason| anyhow!("pairing with {candidate}: {reason}"))
        }
        FamilyAction::Confirm => bus::pairing::confirm(bus)
            .await?
            .map_err(|reason| anyhow!("confirming: {reason}")),
        FamilyAction::Refuse => Ok(bus::pairing::refuse(bus).await?),
        FamilyAction::Pairing => {
            let mut stages = bus::pairing::watch(bus).await?;
            while let Some(stage) = stages.next().await {
                writeln!(out, "{}", describe(&stage?))?;
                out.flush().context("printing")?;
            }
            Ok(())
        }
        FamilyAction::Rename { device, name } => bus::home::rename(bus, &device, &name)
            .await?
            .map_err(|error| anyhow!("renaming {device}: {}", not_noted(error))),
        FamilyAction::Room { device, room } => bus::home::set_room(bus, &device, room.as_deref())
            .await?
            .map_err(|error| anyhow!("noting the room of {device}: {}", not_noted(error))),
        FamilyAction::LightUp { device, seconds } => {
            let there = bus::Client::of_device(device);
            Ok(bus::beacon::show(&there, seconds).await?)
        }
        FamilyAction::Remove { device, lost } => {
            let removed = if lost {
                bus::family::mark_lost(bus, &device).await?
            } else {
                bus::family::remove(bus, &device).await?
            };
            removed.map_err(|error| anyhow!("removing {device}: {}", reason(error)))
        }
        FamilyAction::Paper { input } => paper::set(bus, input.context(NO_INPUT)?, out).await,
        FamilyAction::Recover {
            candidate,
            name,
            input,
        } => paper::recover(bus, &candidate, &name, input.context(NO_INPUT)?, out).await,
    }
}

/// Why a console does not do what a person is asked about.
const NO_INPUT: &str = "this asks, and nobody can answer here: run it in a terminal";

async fn list(bus: &bus::Client, out: &mut impl Write) -> Result<()> {
    if let Some(loss) = bus::family::lost(bus).await? {
        let by = match &*loss.by {
            "" => String::new(),
            by => format!(", on {by}"),
        };
        let moment = moment(loss.at);
        writeln!(
            out,
            "This device is lost: its owner has marked it so{by}, {moment}.\n\
             A device of its family takes it in again: run `hyper family open` here, and pair it there."
        )?;
    }
    let mut table = Table::new(&["NAME", "ROOM", "ROLE", "REACHED", "MODEL", "RELEASE", "ID"]);
    // Who belongs is mesh's to say; what else is known of them comes from elsewhere, or not at all.
    let profiles = bus::home::profiles(bus).await.unwrap_or_default();
    for device in bus::family::devices(bus).await? {
        let profile = profiles.iter().find(|profile| profile.id == device.id);
        let room = profile.and_then(|profile| profile.room.clone());
        let facts = profile.and_then(|profile| profile.facts.clone());
        let (model, release) =
            facts.map_or_else(Default::default, |facts| (facts.model, facts.release));
        let role = role(device.role);
        let reached = match (device.here, device.online, device.last_seen) {
            (true, ..) => "this device".to_owned(),
            (_, true, _) => "online".to_owned(),
            (_, _, Some(time)) => moment(time),
            _ => "never".to_owned(),
        };
        let name = profile.map_or(device.name, |profile| profile.name.clone());
        let room = room.unwrap_or_default();
        table.row([name, room, role.into(), reached, model, release, device.id]);
    }
    Ok(table.print(out)?)
}

/// A role in a word.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Shared => "shared",
        Role::Guest => "guest",
    }
}

/// The id of the one candidate that begins like this.
async fn whole(bus: &bus::Client, beginning: &str) -> Result<String> {
    let candidates = bus::pairing::candidates(bus).await?;
    let mut fitting = candidates
        .into_iter()
        .filter(|candidate| candidate.id.starts_with(beginning));
    match (fitting.next(), fitting.next()) {
        (Some(candidate), None) => Ok(candidate.id),
        (None, _) => bail!(
            "no device nearby that is open for pairing begins with {beginning}; `hyper family nearby` lists them"
        ),
        _ => bail!("more than one device nearby begins with {beginning}: give more of its id"),
    }
}

fn describe(stage: &Stage) -> String {
    match stage {
        Stage::Closed => "closed".into(),
        Stage::Open(secrets) => format!("open, PIN {}, code {}", secrets.pin, secrets.code),
        Stage::Connecting => "connecting".into(),
        Stage::Compare(comparison) => {
            format!("compare {} with {}", comparison.digits, comparison.name)
        }
        Stage::Waiting => "waiting for the other device".into(),
        Stage::Paired(device) => format!("paired with {device}"),
        Stage::Failed(reason) => format!("failed: {reason}"),
    }
}

fn reason(error: bus::family::Error) -> String {
    use bus::family::Error;
    match error {
        Error::UnknownDevice(device) => format!("there is no device {device} in the family"),
        Error::NoFamily => "this device has no family yet".into(),
        Error::Refused(reason) | Error::NotSaved(reason) => reason,
    }
}

fn not_noted(error: bus::home::Error) -> String {
    use bus::home::Error;
    match error {
        Error::UnknownDevice(device) => format!("there is no device {device} in the family"),
        Error::NoFamily => "this device has no family yet".into(),
        Error::Refused(reason) => reason,
        Error::NotSaved(reason) => format!("it could not be saved: {reason}"),
    }
}
