//! Releases.

use std::io::Write;

use anyhow::{Context as _, Result, anyhow, bail};
use bus::update::{Outcome, Phase, Progress, Release, State, Step};
use futures::StreamExt as _;

use super::UpdateAction;
use crate::table::moment;

/// Does what was asked.
pub async fn run(bus: &bus::Client, action: UpdateAction, out: &mut impl Write) -> Result<()> {
    match action {
        UpdateAction::Status => {
            let state = bus::update::status(bus).await?;
            let slots = bus::slots::status(bus).await?;
            status(&state, out)?;
            if let Some(first) = slots.first {
                writeln!(out, "the firmware starts slot {first} by itself")?;
            }
            for awaited in slots.awaited {
                writeln!(out, "before it is kept: {awaited}")?;
            }
            Ok(())
        }
        UpdateAction::Check => {
            bus::update::check(bus)
                .await?
                .map_err(|reason| anyhow!("asking for newer releases: {reason}"))?;
            follow(bus, out).await
        }
        UpdateAction::Install {
            version: Some(version),
            ..
        } => {
            bus::update::install_version(bus, &version)
                .await?
                .map_err(|reason| anyhow!("installing {version}: {reason}"))?;
            follow(bus, out).await
        }
        UpdateAction::Install { source: None, .. } => {
            bus::update::install(bus)
                .await?
                .map_err(|reason| anyhow!("installing: {reason}"))?;
            follow(bus, out).await
        }
        UpdateAction::Install {
            source: Some(source),
            ..
        } => {
            bus::update::install_from(bus, &source)
                .await?
                .map_err(|reason| anyhow!("installing from {source}: {reason}"))?;
            follow(bus, out).await
        }
        UpdateAction::Cancel => bus::update::cancel(bus)
            .await?
            .map_err(|reason| anyhow!("cancelling: {reason}")),
        UpdateAction::Restart => bus::update::restart(bus)
            .await?
            .map_err(|reason| anyhow!("restarting into the new release: {reason}")),
    }
}

/// Prints what goes on until it has come to an end.
async fn follow(bus: &bus::Client, out: &mut impl Write) -> Result<()> {
    let mut states = bus::update::watch(bus).await?;
    let mut before = String::new();
    while let Some(state) = states.next().await {
        let state = state.context("following the update")?;
        let line = phase(&state.phase);
        if line != before {
            writeln!(out, "{line}")?;
            out.flush()?;
            before = line;
        }
        match state.phase {
            Phase::Checking | Phase::Installing(_) => {}
            phase => {
                for problem in state.problems {
                    writeln!(out, "{} was not used: {}", problem.source, problem.reason)?;
                }
                return match phase {
                    Phase::Failed(reason) | Phase::Unsupported(reason) => bail!(reason),
                    _ => Ok(()),
                };
            }
        }
    }
    bail!("the update service went away; `hyper update` says how things stand")
}

fn status(state: &State, out: &mut impl Write) -> Result<()> {
    let slot = state
        .slot
        .as_ref()
        .map_or(String::new(), |slot| format!(" in slot {slot}"));
    writeln!(
        out,
        "{} runs{slot}, following {}",
        state.installed, state.channel
    )?;
    writeln!(out, "{}", phase(&state.phase))?;
    if let Some(trial) = &state.trial {
        let outcome = match &trial.outcome {
            Outcome::Trying => "is being tried".to_owned(),
            Outcome::Kept => "was tried and kept".to_owned(),
            Outcome::FellBack(reason) => format!("was tried and given up: {reason}"),
        };
        writeln!(out, "{} {outcome}", trial.version)?;
    }
    if let Some(checked) = state.checked {
        writeln!(out, "the mirrors were asked at {} UTC", moment(checked))?;
    }
    for problem in &state.problems {
        writeln!(out, "{} was not used: {}", problem.source, problem.reason)?;
    }
    if state.development {
        writeln!(
            out,
            "this is a development image: anyone can sign releases that it believes"
        )?;
    }
    Ok(())
}

fn phase(phase: &Phase) -> String {
    match phase {
        Phase::Idle => "nothing is known of a newer release".to_owned(),
        Phase::Checking => "asking for newer releases".to_owned(),
        Phase::Current => "there is no newer release".to_owned(),
        Phase::Available(release) => format!("{} can be installed", describe(release)),
        Phase::Installing(progress) => installing(progress),
        Phase::Ready(release) => format!(
            "{} is ready: `hyper update restart` tries it",
            release.version
        ),
        Phase::Failed(reason) => format!("failed: {reason}"),
        Phase::Unsupported(reason) => format!("no updates: {reason}"),
    }
}

fn describe(release: &Release) -> String {
    format!(
        "{} ({}, at most {:.1} MB, from {})",
        release.version,
        release.channel,
        release.size as f64 / 1e6,
        release.source
    )
}

fn installing(progress: &Progress) -> String {
    let step = match progress.step {
        Step::Comparing => "comparing with what is here",
        Step::Writing => "writing",
        Step::Verifying => "reading back",
        Step::Finishing => "making the boot partition",
    };
    format!(
        "{}: {step}, {} %, {:.1} MB fetched",
        progress.release.version,
        progress.done * 100 / progress.total.max(1),
        progress.downloaded as f64 / 1e6
    )
}
