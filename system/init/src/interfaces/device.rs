//! `hyper:device`: what this device is, and what it has in use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::Caller;
use bus::device::{Handler, Identity, Resources, Volume};
use rustix::fs::StatVfsMountFlags;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::log::Level;
use crate::sandbox::Place;
use crate::slots::variables;
use crate::system::SharedLog;

/// `release.toml`, as far as it matters here.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Release {
    /// Such as `0.1.0`.
    #[serde(default)]
    pub version: String,
    /// Whether the image was built for development: its console is open to anyone.
    #[serde(default)]
    pub development: bool,
    /// Such as `global`.
    #[serde(default)]
    pub edition: String,
}

/// `product.toml`, as far as it matters here.
#[derive(Clone, Debug, Default, Deserialize)]
struct Product {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model: String,
}

/// What does not change while the device runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The release that runs.
    pub release: Release,
    product: Product,
    slot: Option<String>,
    system: PathBuf,
    data: PathBuf,
    bus: bus::Client,
}

impl Facts {
    /// Reads what the image says of itself. What is missing or broken is empty, and in the log.
    pub fn read(place: &Place, slot: Option<String>, log: &SharedLog) -> Self {
        Self {
            release: read(&place.system.join("release.toml"), log),
            product: read(&place.system.join("product.toml"), log),
            slot,
            system: place.system.clone(),
            data: place.data.clone(),
            bus: bus::Client::new(bus::Address::Here(place.bus())),
        }
    }

    /// The owner's name for the device, if the settings answer soon and have one.
    async fn owners_name(&self) -> Option<String> {
        let settings = self.bus.with_deadline(Duration::from_secs(2));
        match bus::settings::get(&settings, "device.name").await {
            Ok(Ok(bus::settings::Value::Text(name))) if !name.is_empty() => Some(name),
            _ => None,
        }
    }
}

fn read<T: DeserializeOwned + Default>(file: &Path, log: &SharedLog) -> T {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
    text.and_then(|text| toml::from_str(&text).map_err(|error| error.to_string()))
        .unwrap_or_else(|error| {
            log.say(Level::Warning, format!("{}: {error}", file.display()));
            T::default()
        })
}

impl Handler for Facts {
    async fn about(&self, _: Caller) -> Identity {
        let name = self
            .owners_name()
            .await
            .unwrap_or_else(|| self.product.model.clone());
        Identity {
            name,
            product: self.product.name.clone(),
            model: self.product.model.clone(),
            release: self.release.version.clone(),
            edition: self.release.edition.clone(),
            slot: self.slot.clone(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            processors: std::thread::available_parallelism()
                .map_or(1, |count| count.get().try_into().unwrap_or(u32::MAX)),
            development: self.release.development,
            firmware: Path::new("/sys/firmware/efi").is_dir(),
            secure_boot: variables::mounted().is_ok_and(|variables| variables.secure_boot()),
        }
    }

    async fn volumes(&self, _: Caller) -> Vec<Volume> {
        [("system", &self.system), ("data", &self.data)]
            .into_iter()
            .filter_map(|(name, folder)| volume(name, folder))
            .collect()
    }

    async fn usage(&self, _: Caller) -> Resources {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let (memory_total, memory_available) = memory(&read("/proc/meminfo"));
        Resources {
            memory_total,
            memory_available,
            cpu_busy: busy(&read("/proc/stat")),
            uptime: uptime(&read("/proc/uptime")),
        }
    }
}

fn volume(name: &str, folder: &Path) -> Option<Volume> {
    let status = rustix::fs::statvfs(folder).ok()?;
    let size = status.f_blocks.saturating_mul(status.f_frsize);
    let free = status.f_bfree.saturating_mul(status.f_frsize);
    Some(Volume {
        name: name.to_owned(),
        size,
        used: size.saturating_sub(free),
        available: status.f_bavail.saturating_mul(status.f_frsize),
        writable: !status.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// Total and available memory in `/proc/meminfo`, in bytes.
fn memory(text: &str) -> (u64, u64) {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    };
    (
        value("MemTotal:").unwrap_or(0),
        value("MemAvailable:").unwrap_or(0),
    )
}

/// Busy processor time in `/proc/stat`, in microseconds: all but idle and waiting for disks.
fn busy(text: &str) -> u64 {
    let fields: Vec<u64> = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "))
        .map(|line| {
            line.split_whitespace()
                .map_while(|field| field.parse().ok())
                .collect()
        })
        .unwrap_or_default();
    // user nice system idle iowait irq softirq steal; what follows is counted in user already.
    let ticks = [0, 1, 2, 5, 6, 7]
        .into_iter()
        .filter_map(|field: usize| fields.get(field))
        .fold(0u64, |sum, &field| sum.saturating_add(field));
    ticks.saturating_mul(1_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// The time since start in `/proc/uptime`, in microseconds.
fn uptime(text: &str) -> u64 {
    let seconds: f64 = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0.0);
    (seconds * 1e6) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernels_files_are_read() {
        let text = "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     700 kB\n";
        assert_eq!(memory(text), (1_024_000, 716_800));
        let tick = 1_000_000 / rustix::param::clock_ticks_per_second();
        assert_eq!(busy("cpu  1 2 3 100 200 4 5 6 7 8\ncpu0 1\n"), 21 * tick);
        assert_eq!(uptime("12.50 20.00\n"), 12_500_000);
    }

    proptest! {
        #[test]
        fn no_text_ends_the_readers(text in "\\PC*") {
            let _ = (memory(&text), busy(&text), uptime(&text));
        }
    }
}
