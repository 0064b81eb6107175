//! Telling the owner's other devices.
//!
//! One task a device, as long as it belongs to the owner and this one does too. It tells what was
//! copied here, always the newest; what was copied elsewhere the device there tells. When the other
//! device becomes reachable the two compare what they have; it is enough that one of them begins.

use std::path::PathBuf;
use std::time::Duration;

use bus::Reason;
use bus::family::{Device, Role};
use bus::others::{Other, with_others};

use super::board::{Stamp, Taken};
use super::{Clipboard, now};

/// The pause before a device is told again that did not take something; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Follows who belongs to the family, for as long as the service runs.
pub async fn with_family(clipboard: Clipboard, bus: PathBuf) {
    let heard = |devices: &[Device]| {
        if let Some(here) = devices.iter().find(|device| device.here) {
            clipboard.board().name(&here.id);
        }
    };
    let wanted =
        |here: &Device, other: &Device| here.role == Role::Owner && other.role == Role::Owner;
    with_others(bus, heard, wanted, |other| tell(clipboard.clone(), other)).await;
}

/// Tells one device what is copied here, and compares with it when it becomes reachable.
async fn tell(clipboard: Clipboard, other: Other) {
    let Other {
        client,
        mut online,
        begins,
        ..
    } = other;
    let mut changes = clipboard.changes.subscribe();
    // After a start this device knows nothing, and the other one does not see that it started.
    let mut compares = true;
    let mut told = Stamp::default();
    let mut pause = FIRST_PAUSE;
    loop {
        if online.wait_for(|online| *online).await.is_err() {
            return;
        }
        online.borrow_and_update();
        changes.borrow_and_update();
        let newest = {
            let board = clipboard.board();
            let due = compares || (board.is_own() && *board.stamp() > told);
            due.then(|| (board.newest(now()), board.stamp().clone()))
        };
        let mut failed = false;
        if let Some((newest, stamp)) = newest {
            match bus::copies::exchange(&client, newest.as_ref()).await {
                Ok(answer) => {
                    compares = false;
                    told = stamp;
                    pause = FIRST_PAUSE;
                    match answer {
                        Ok(Some(theirs)) => take(&clipboard, theirs),
                        Ok(None) => {}
                        Err(reason) => tracing::warn!("another device does not take it: {reason}"),
                    }
                }
                Err(error) => {
                    tracing::debug!("telling another device what was copied: {error}");
                    if let Reason::DeviceRefused { .. } = error.reason {
                        // It has no clipboard, or not for this device: told as far as it can be.
                        (compares, told) = (false, stamp);
                    } else {
                        failed = true;
                    }
                }
            }
        }
        let again = async {
            if failed {
                tokio::time::sleep(pause).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = online.changed() => {
                if changed.is_err() {
                    return;
                }
                // It comes back, or goes.
                compares |= begins;
            }
            () = again => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

fn take(clipboard: &Clipboard, theirs: bus::copies::Stamped) {
    let taken = clipboard.board().take(theirs, now());
    match taken {
        Ok(Taken::Newer) => clipboard.changed(),
        Ok(Taken::Same | Taken::Older(_)) => {}
        Err(error) => tracing::warn!("what another device copied is not taken: {error}"),
    }
}
