//! Following a setting.

use std::time::Duration;

use bus::{Client, settings};
use futures::StreamExt as _;
use tokio::sync::watch;
use tracing::debug;

/// The longest pause before the settings are asked again after they went away.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The value of a setting as it changes; none until it is known for the first time.
pub(crate) fn follow(bus: Client, key: &'static str) -> watch::Receiver<Option<settings::Value>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let mut pause = Duration::from_millis(250);
        while !sender.is_closed() {
            match once(&bus, key, &sender).await {
                // It was there, so it is only being started again.
                Ok(()) => pause = Duration::from_millis(250),
                Err(error) => {
                    debug!("following the setting {key}: {error}");
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            tokio::time::sleep(pause).await;
        }
    });
    receiver
}

/// Follows until the settings go away.
async fn once(
    bus: &Client,
    key: &str,
    sender: &watch::Sender<Option<settings::Value>>,
) -> Result<(), bus::Error> {
    // First watched, then read: no change falls in between.
    let mut changes = settings::watch(bus).await?;
    if let Ok(value) = settings::get(bus, key).await? {
        sender.send_replace(Some(value));
    }
    while let Some(Ok(change)) = changes.next().await {
        if change.key == key {
            sender.send_replace(Some(change.value));
        }
    }
    Ok(())
}
