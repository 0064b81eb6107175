//! The services that this program carries.

use anyhow::{Result, bail};

type Run = fn() -> Result<()>;

/// Each service by the name of its manifest.
pub const ALL: &[(&str, Run)] = &[
    ("mesh", mesh::run),
    ("clipboard", exchange::clipboard::run),
    ("files", exchange::files::run),
    ("settings", settings::run),
    ("state", state::run),
    ("network", network::run),
    ("time", network::time::run),
    ("update", update::served::run),
    ("fetch", update::fetch::run),
];

/// Runs one until it is asked to end.
pub fn run(name: &str) -> Result<()> {
    match ALL.iter().find(|(service, _)| *service == name) {
        Some((_, run)) => run(),
        None => {
            let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
            bail!(
                "there is no service {name} in this program; there are {}",
                names.join(", ")
            )
        }
    }
}
