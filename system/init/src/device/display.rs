//! Waiting for a display, and nothing else.

use std::path::Path;

use anyhow::Result;

use super::uevent::UeventSocket;

/// Waits until there is a DRM card or a framebuffer.
///
/// Without a limit: it serves a measurement of how long a display takes, whose own limit applies.
///
/// # Errors
/// When the kernel's events cannot be read.
pub fn wait(events: &UeventSocket) -> Result<()> {
    let far = std::time::Instant::now() + std::time::Duration::from_secs(24 * 3600);
    loop {
        if is_there() {
            return Ok(());
        }
        events.wait(far)?;
        while events.receive()?.is_some() {}
    }
}

fn is_there() -> bool {
    let has_card = std::fs::read_dir("/dev/dri").is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("card"))
    });
    has_card || Path::new("/dev/fb0").exists()
}
