//! Files on their way between devices.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use bus::transfer::{Delivery, Direction, Phase, Problem};
use clap::Subcommand;
use futures::StreamExt as _;

use crate::table::{Table, bytes, moment};

/// What can be done with deliveries.
#[derive(Debug, Subcommand)]
pub enum TransferAction {
    /// List what is on its way, and the last that were
    List,
    /// The same, each time that it changes
    Watch,
    /// Take a delivery back
    Cancel {
        /// As the list numbers it
        id: u64,
    },
    /// List what was received
    Files,
    /// Delete something that was received
    Delete {
        /// As the list of files names it
        name: String,
    },
}

/// Does it.
pub async fn run(bus: &bus::Client, action: TransferAction, out: &mut impl Write) -> Result<()> {
    match action {
        TransferAction::List => print(&bus::transfer::all(bus).await?, out),
        TransferAction::Watch => {
            let mut lists = bus::transfer::watch(bus).await?;
            while let Some(list) = lists.next().await {
                print(&list?, out)?;
            }
            Ok(())
        }
        TransferAction::Cancel { id } => bus::transfer::cancel(bus, id)
            .await?
            .map_err(|reason| anyhow!("taking delivery {id} back: {reason}")),
        TransferAction::Files => {
            let mut table = Table::new(&["NAME", "SIZE", "RECEIVED"]);
            for file in bus::transfer::files(bus).await? {
                let name = if file.folder {
                    format!("{}/", file.name)
                } else {
                    file.name
                };
                table.row([name, bytes(file.size), moment(file.time)]);
            }
            Ok(table.print(out)?)
        }
        TransferAction::Delete { name } => bus::transfer::delete(bus, &name)
            .await?
            .map_err(|reason| anyhow!(reason)),
    }
}

fn print(deliveries: &[Delivery], out: &mut impl Write) -> Result<()> {
    let header = ["ID", "WAY", "DEVICE", "DONE", "OF", "STATE", "WHAT"];
    let mut table = Table::new(&header);
    for one in deliveries {
        let way = match one.direction {
            Direction::Sending => "to",
            Direction::Receiving => "from",
        };
        table.row([
            one.id.to_string(),
            way.into(),
            one.device_name.clone(),
            bytes(one.done),
            bytes(one.bytes),
            state(&one.phase),
            one.names.join(", "),
        ]);
    }
    Ok(table.print(out)?)
}

fn state(phase: &Phase) -> String {
    match phase {
        Phase::Waiting => "waits".into(),
        Phase::Running => "runs".into(),
        Phase::Finished => "finished".into(),
        Phase::Cancelled => "taken back".into(),
        Phase::Failed(problem) => format!("failed: {}", reason(problem)),
    }
}

fn reason(problem: &Problem) -> String {
    match problem {
        Problem::Full => {
            "the device that receives has not enough space; free some and send it again".into()
        }
        Problem::Changed(path) => {
            format!("{path} was changed each time while it was being sent; send it again later")
        }
        Problem::Unreadable(reason) => format!("it cannot be read: {reason}"),
        Problem::Refused(reason) => format!("the device that receives does not take it: {reason}"),
        Problem::Unsaved(reason) => format!("the device that receives cannot keep it: {reason}"),
    }
}

/// Sends files and says how far that is, until they have arrived.
pub async fn send(
    bus: &bus::Client,
    device: &str,
    paths: Vec<PathBuf>,
    out: &mut impl Write,
) -> Result<()> {
    let mut texts = Vec::new();
    for path in paths {
        // What is here is meant; what is not may be below the folder of received files.
        let path = match std::path::absolute(&path) {
            Ok(absolute) if absolute.exists() => absolute,
            _ => path,
        };
        let text = path.into_os_string().into_string();
        texts.push(text.map_err(|path| anyhow!("{} is no text", path.display()))?);
    }
    // The watch comes first, so that the end cannot be missed.
    let mut lists = bus::transfer::watch(bus).await?;
    let id = bus::transfer::send(bus, device, &texts)
        .await?
        .map_err(|reason| anyhow!("sending to {device}: {reason}"))?;
    let mut told = None;
    while let Some(list) = lists.next().await {
        let list = list?;
        let Some(one) = list.iter().find(|one| one.id == id) else {
            continue;
        };
        match &one.phase {
            Phase::Failed(problem) => bail!("sending to {device}: {}", reason(problem)),
            Phase::Cancelled => bail!("sending to {device}: it was taken back"),
            _ => {}
        }
        let percent = (one.done * 100).checked_div(one.bytes).unwrap_or(0);
        let now = (state(&one.phase), percent);
        if told.as_ref() != Some(&now) {
            let (done, all) = (bytes(one.done), bytes(one.bytes));
            writeln!(out, "{percent:3} %  {done} of {all}  {}", now.0).context("printing")?;
            out.flush().context("printing")?;
            told = Some(now);
        }
        if one.phase == Phase::Finished {
            if one.skipped > 0 {
                writeln!(out, "left out: {} links and others", one.skipped)?;
            }
            return Ok(());
        }
    }
    bail!("sending to {device}: the service for files ended; it goes on when it starts again")
}
