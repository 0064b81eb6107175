//! Taking the kernel's messages into the log.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context as _, Result};
use tokio::io::unix::AsyncFd;

use super::{SharedLog, System};
use crate::log::Level;
use crate::log::kernel::{self, RefusedCall};
use crate::watch;

/// The kernel never hands out a longer record.
const LONGEST_RECORD: usize = 8192;

impl System {
    /// Begins to read the kernel's messages. What it says about system calls that a sandbox
    /// refused goes under the name of the service, too.
    ///
    /// # Errors
    /// When they cannot be read, such as by an ordinary user.
    pub fn read_kernel(&self) -> Result<()> {
        let messages = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("opening /dev/kmsg, which has the kernel's messages")?;
        let messages = watch::file(messages).context("watching /dev/kmsg")?;
        let users = self.services.iter().filter_map(|entry| {
            let manifest = entry.manifest.as_ref().ok()?;
            Some((manifest.user, manifest.name.clone()))
        });
        tokio::spawn(read(messages, self.log.clone(), users.collect()));
        Ok(())
    }
}

async fn read(messages: AsyncFd<File>, log: SharedLog, users: Vec<(u32, String)>) {
    let mut record = [0; LONGEST_RECORD];
    while let Ok(mut ready) = messages.readable().await {
        match ready.get_inner().read(&mut record) {
            Ok(length) => {
                if let Some((level, text)) = kernel::parse(&record[..length]) {
                    take(&log, &users, level, text);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
            // EPIPE: records were overwritten before they were read.
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(error) => {
                log.say(
                    Level::Error,
                    format!("the kernel's messages cannot be read any more: {error}"),
                );
                return;
            }
        }
    }
}

fn take(log: &SharedLog, users: &[(u32, String)], level: Level, text: String) {
    let mut log = log.lock();
    if let Some(refused) = RefusedCall::parse(&text)
        && let Some((_, service)) = users.iter().find(|(user, _)| *user == refused.user)
    {
        log.write(service, Level::Warning, format!("refused: {refused}"));
    }
    log.write("kernel", level, text);
}
