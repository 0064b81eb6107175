//! What the owner should not have to go looking for.

use std::time::Duration;

use bus::Client;
use bus::notify::{self, Importance, Notification};

/// The shade is asked for at start, when there may be no screen yet.
const DEADLINE: Duration = Duration::from_secs(120);
/// The shade takes so many bytes; the whole text stays in the log.
const MAX_TEXT_BYTES: usize = 500;

/// Logs notices, and posts them to the shade under this title. Where nobody shows notifications, the log has them.
pub async fn tell_owner(client: &Client, title: &str, notices: Vec<String>) {
    let client = client.with_deadline(DEADLINE);
    for mut text in notices {
        tracing::warn!("{text}");
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        let notification = Notification {
            title: title.to_owned(),
            text,
            importance: Importance::Normal,
            tag: None,
        };
        match notify::post(&client, &notification).await {
            Ok(Ok(_)) => {}
            Ok(Err(reason)) => tracing::warn!("the shade refused a notice: {reason}"),
            Err(error) => tracing::warn!("a notice did not reach the shade: {error}"),
        }
    }
}
