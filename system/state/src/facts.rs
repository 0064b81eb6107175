//! What this device says about itself: read when the service begins, and when somebody looks.

use std::time::Duration;

use anyhow::Result;
use bus::Client;
use bus::home::Facts;

use crate::home::Home;

/// Whoever looks more often sees what was so less than this ago.
const APART: Duration = Duration::from_secs(60);
/// The volume of which the size and what is free are told.
const DATA: &str = "data";

/// Tells what this device is, for as long as the service runs.
pub async fn tell(home: &Home, client: &Client) -> Result<()> {
    loop {
        home.take_facts(read(client).await?)?;
        tokio::time::sleep(APART).await;
        home.looked.notified().await;
    }
}

async fn read(client: &Client) -> Result<Facts> {
    let about = bus::device::about(client).await?;
    let volumes = bus::device::volumes(client).await?;
    let data = volumes.iter().find(|volume| volume.name == DATA);
    let (size, available) = data.map_or((0, 0), |data| (data.size, data.available));
    Ok(Facts {
        product: cut(about.product),
        model: cut(about.model),
        release: cut(about.release),
        edition: cut(about.edition),
        storage_size: size,
        storage_available: in_steps(size, available),
    })
}

/// In steps of a hundredth of the size, so that not every file that is written is news.
fn in_steps(size: u64, available: u64) -> u64 {
    match size / 100 {
        0 => available,
        step => available / step * step,
    }
}

/// Of what a product file says, as much as fits any screen.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(128));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_told_in_steps() {
        assert_eq!(in_steps(1000, 999), 990);
        assert_eq!(in_steps(1000, 1000), 1000);
        assert_eq!(in_steps(50, 7), 7);
        assert_eq!(in_steps(0, 0), 0);
    }
}
