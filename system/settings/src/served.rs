//! The settings on the bus.

/// Serves the settings of this device until it is told to stop.
pub fn run() -> anyhow::Result<()> {
    anyhow::bail!("not served yet")
}
