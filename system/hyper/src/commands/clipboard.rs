//! What was copied.

use std::io::{Read as _, Write};

use anyhow::{Context as _, Result, anyhow, bail};
use bus::clipboard::Item;
use clap::Subcommand;
use futures::StreamExt as _;

/// More than the clipboard takes, so that what is too long is refused and not cut.
const MOST: u64 = 1024 * 1024 - 4096;

/// What can be done with the clipboard.
#[derive(Debug, Subcommand)]
pub enum ClipboardAction {
    /// Print what was copied, as it is
    Get,
    /// Copy
    Set {
        /// The text; standard input, if it is not said
        #[arg(allow_hyphen_values = true)]
        text: Option<String>,
        /// What it is
        #[arg(long = "type", value_name = "MEDIA TYPE", default_value = "text/plain")]
        media_type: String,
        /// It is a password or the like: it goes after a minute, and nothing shows it
        #[arg(long)]
        secret: bool,
        /// What was read.
        #[arg(skip)]
        input: Option<Vec<u8>>,
    },
    /// Take it away, on all devices of the owner
    Clear,
    /// Print what kind of thing is there to paste, each time that it changes
    Watch,
}

impl ClipboardAction {
    /// Reads what is to be copied from standard input, where it is not said otherwise. A console
    /// does not call this: there, standard input is more command lines.
    pub fn read_input(&mut self) -> Result<()> {
        if let Self::Set {
            text: None, input, ..
        } = self
        {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .take(MOST)
                .read_to_end(&mut bytes)
                .context("reading what to copy from standard input")?;
            *input = Some(bytes);
        }
        Ok(())
    }
}

/// Does it.
pub async fn run(bus: &bus::Client, action: ClipboardAction, out: &mut impl Write) -> Result<()> {
    match action {
        ClipboardAction::Get => {
            let item = bus::clipboard::get(bus).await?;
            let item = item.context("nothing was copied, or it is over")?;
            out.write_all(&item.data).context("printing")?;
            out.flush().context("printing")
        }
        ClipboardAction::Set {
            text,
            media_type,
            secret,
            input,
        } => {
            let Some(data) = text.map(String::into_bytes).or(input) else {
                bail!("say the text to copy: in a console there is no standard input");
            };
            let item = Item {
                media_type,
                data: data.into(),
                secret,
            };
            bus::clipboard::set(bus, &item)
                .await?
                .map_err(|reason| anyhow!("copying: {reason}"))
        }
        ClipboardAction::Clear => Ok(bus::clipboard::clear(bus).await?),
        ClipboardAction::Watch => {
            let mut items = bus::clipboard::watch(bus).await?;
            while let Some(item) = items.next().await {
                match item? {
                    Some(item) => {
                        let length = item.data.len();
                        let secret = if item.secret { ", secret" } else { "" };
                        writeln!(out, "{} {length} bytes{secret}", item.media_type)?;
                    }
                    None => writeln!(out, "nothing")?,
                }
            }
            Ok(())
        }
    }
}
