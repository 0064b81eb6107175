//! What devices of the family may call on each other, and the owner's word.

use std::io::Write;

use anyhow::{Context as _, Result, anyhow, bail};
use bus::grants::{Grant, Until};
use bus::questions::{Reply, Standing};
use clap::{Subcommand, ValueEnum};
use futures::StreamExt as _;

use crate::table::{Table, moment};

/// What can be done with grants.
#[derive(Debug, Subcommand)]
pub enum GrantsAction {
    /// List them, the newest first
    List,
    /// End one, or a refusal for good
    Revoke {
        /// Its id, or the beginning of it
        grant: String,
    },
    /// List the questions that wait for the owner, and the devices whose questions are not shown
    Questions,
    /// Print that each time that it changes; while this runs, questions come to this device
    Watch,
    /// Answer a question for the owner, on an unlocked owner device
    Answer {
        /// Its number
        question: u64,
        /// What the owner says
        #[arg(value_enum)]
        word: Word,
    },
    /// Let a device ask again after three refusals
    Unmute {
        /// Its name or id
        device: String,
    },
}

/// What the owner says.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Word {
    /// No, this time
    Refuse,
    /// This one call
    Once,
    /// For an hour
    Hour,
    /// Until it is revoked
    Always,
    /// No, and do not ask again
    Never,
}

/// Does it.
pub async fn run(bus: &bus::Client, action: GrantsAction, out: &mut impl Write) -> Result<()> {
    match action {
        GrantsAction::List => list(bus, out).await,
        GrantsAction::Revoke { grant } => revoke(bus, &grant).await,
        GrantsAction::Questions => print(&bus::questions::current(bus).await?, out),
        GrantsAction::Watch => {
            let mut standings = bus::questions::watch(bus).await?;
            while let Some(standing) = standings.next().await {
                print(&standing?, out)?;
            }
            Ok(())
        }
        GrantsAction::Answer { question, word } => {
            let reply = match word {
                Word::Refuse => Reply::Refuse,
                Word::Once => Reply::Once,
                Word::Hour => Reply::Hour,
                Word::Always => Reply::Always,
                Word::Never => Reply::Never,
            };
            bus::questions::answer(bus, question, &reply)
                .await?
                .map_err(|error| anyhow!("answering question {question}: {}", reason(error)))
        }
        GrantsAction::Unmute { device } => bus::questions::unmute(bus, &device)
            .await?
            .map_err(|error| anyhow!("letting {device} ask again: {}", reason(error))),
    }
}

async fn list(bus: &bus::Client, out: &mut impl Write) -> Result<()> {
    let mut table = Table::new(&["ID", "DEVICE", "MAY CALL", "OF", "HOW LONG", "SAID ON"]);
    for grant in bus::grants::all(bus).await? {
        let how_long = match grant.until {
            Until::Once => "once".into(),
            Until::Time(second) => {
                let time = moment(second.saturating_mul(1000));
                // Minutes say enough.
                format!("until {}", &time[..time.len().saturating_sub(7)])
            }
            Until::Always => "always".into(),
            Until::Never => "never".into(),
        };
        table.row([
            grant.id.chars().take(8).collect(),
            grant.caller.name,
            grant.interfaces,
            grant
                .callee
                .map_or("every device".into(), |callee| callee.name),
            how_long,
            grant.by.name,
        ]);
    }
    Ok(table.print(out)?)
}

async fn revoke(bus: &bus::Client, beginning: &str) -> Result<()> {
    let all: Vec<Grant> = bus::grants::all(bus).await?;
    let mut fitting = all.iter().filter(|grant| grant.id.starts_with(beginning));
    let grant = match (fitting.next(), fitting.next()) {
        (Some(grant), None) => grant,
        (None, _) => bail!("no grant begins with {beginning}; `hyper grants` lists them"),
        _ => bail!("more than one grant begins with {beginning}: give more of its id"),
    };
    use bus::grants::Error;
    bus::grants::revoke(bus, &grant.id)
        .await?
        .map_err(|error| match error {
            Error::UnknownGrant(id) => anyhow!("revoking {id}: it is revoked already"),
            Error::NoFamily => anyhow!("revoking {}: this device has no family", grant.id),
            Error::Refused(reason) | Error::NotSaved(reason) => {
                anyhow!("revoking {}: {reason}", grant.id)
            }
        })
}

fn print(standing: &Standing, out: &mut impl Write) -> Result<()> {
    let mut table = Table::new(&["NUMBER", "DEVICE", "ITS PROGRAM", "ASKS FOR", "OF"]);
    for question in &standing.waiting {
        table.row([
            question.id.to_string(),
            question.caller.name.clone(),
            question.program.clone().unwrap_or_default(),
            question.wanted.clone(),
            question.callee.name.clone(),
        ]);
    }
    table.print(out)?;
    for device in &standing.muted {
        writeln!(out, "{} is not shown: three refusals in a row", device.name)?;
    }
    out.flush().context("printing")
}

fn reason(error: bus::questions::Error) -> String {
    use bus::questions::Error;
    match error {
        Error::Gone => {
            "it waits no more: it was answered, its time is over, or its caller is gone".into()
        }
        Error::UnknownDevice(device) => format!("there is no device {device} in the family"),
        Error::Refused(reason) | Error::NotSaved(reason) => reason,
    }
}
