//! The power button of the machine (ACPI), for when no shell is there to see to it.
//!
//! The shell reads the same events and decides what the owner means. Process 1 only listens
//! along, so that a device whose shell does not run can still be turned off in order.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::watch;

/// `struct input_event` on 64-bit machines: two words of time, type, code, value.
const EVENT: usize = 24;
/// `EV_KEY`
const KEY: u16 = 1;
/// `KEY_POWER`
const POWER: u16 = 116;

/// Calls `pressed` each time that the button goes down. Returns at once when there is no button,
/// and when it goes away.
pub async fn listen(mut pressed: impl FnMut()) {
    let Some(node) = find(Path::new("/sys/class/input")) else {
        return;
    };
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(node);
    let Ok(events) = file.and_then(watch::file) else {
        return;
    };
    let mut buffer = [0; EVENT * 16];
    while let Ok(mut ready) = events.readable().await {
        match ready.get_inner().read(&mut buffer) {
            Ok(length) => {
                for event in buffer[..length].chunks_exact(EVENT) {
                    if is_press(event) {
                        pressed();
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(_) => return,
        }
    }
}

fn is_press(event: &[u8]) -> bool {
    let word = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    word(16) == KEY && word(18) == POWER && word(20) == 1
}

fn find(class: &Path) -> Option<PathBuf> {
    std::fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let device = std::fs::read_to_string(entry.path().join("device/name")).ok()?;
        (name.starts_with("event") && device.trim() == "Power Button")
            .then(|| Path::new("/dev/input").join(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = vec![0; 16];
            event.extend(kind.to_ne_bytes());
            event.extend(code.to_ne_bytes());
            event.extend(value.to_ne_bytes());
            event
        };
        assert!(is_press(&event(1, 116, 1)));
        assert!(!is_press(&event(1, 116, 0)));
        assert!(!is_press(&event(1, 30, 1)));
        assert!(!is_press(&event(0, 0, 0)));
    }
}
