//! QEMU's own protocol: one JSON document a line, either way.

use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::lines::Lines;

/// Long enough for QEMU on a machine that is busy with other things.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection to QEMU.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines,
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects to the socket at `path` and agrees on the protocol.
    ///
    /// # Errors
    ///
    /// Fails when nobody listens there, or it is not QEMU.
    pub fn connect(path: &Path) -> Result<Self> {
        let mut qmp = Self {
            lines: Lines::connect(path)?,
            events: VecDeque::new(),
        };
        let greeting = qmp
            .lines
            .next(Instant::now() + ANSWER)?
            .context("QEMU does not greet")?;
        if !greeting.contains("\"QMP\"") {
            bail!(
                "{} is not QEMU's: it greets with {greeting:?}",
                path.display()
            );
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Has QEMU execute a command, and returns what it answers.
    ///
    /// # Errors
    ///
    /// Fails when QEMU refuses, or has gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.lines
            .send(&json!({ "execute": command, "arguments": arguments }).to_string())?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let Some(mut message) = self.receive(deadline)? else {
                bail!("QEMU does not answer {command:?}");
            };
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                bail!(
                    "QEMU refuses {command:?}: {}",
                    error["desc"].as_str().unwrap_or_default()
                );
            }
            self.events.push_back(message);
        }
    }

    /// Waits for an event of this name; none when it has not come by the deadline.
    ///
    /// # Errors
    ///
    /// Fails when QEMU has gone.
    pub fn event(&mut self, name: &str, deadline: Instant) -> Result<Option<Value>> {
        loop {
            if let Some(index) = self.events.iter().position(|event| event["event"] == name) {
                return Ok(self.events.remove(index));
            }
            match self.receive(deadline)? {
                Some(message) => self.events.push_back(message),
                None => return Ok(None),
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<Value>> {
        let Some(line) = self.lines.next(deadline)? else {
            return Ok(None);
        };
        serde_json::from_str(&line)
            .map(Some)
            .with_context(|| format!("QEMU says something that is no JSON: {line:?}"))
    }
}
