//! The light behind the display, as the kernel has it in a folder of `/sys`.

use std::io;
use std::path::{Path, PathBuf};

/// The share of the full light at brightness 0: never so dark that the way back cannot be seen.
const LEAST: f32 = 0.02;

/// A display's backlight.
#[derive(Debug)]
pub struct Backlight {
    folder: PathBuf,
    most: u32,
    brightness: f32,
}

impl Backlight {
    /// The first one of this machine: where process 1 shows it to this service, or where every
    /// other system has it.
    pub fn find() -> Option<Self> {
        ["/dev/backlight", "/sys/class/backlight"]
            .into_iter()
            .find_map(|folder| Self::find_in(Path::new(folder)))
    }

    fn find_in(class: &Path) -> Option<Self> {
        let mut folders: Vec<_> = std::fs::read_dir(class)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        folders.sort();
        folders
            .into_iter()
            .find_map(|folder| match Self::open(folder.clone()) {
                Ok(backlight) => Some(backlight),
                Err(error) => {
                    tracing::warn!(
                        "reading the backlight at {} failed: {error}",
                        folder.display()
                    );
                    None
                }
            })
    }

    fn open(folder: PathBuf) -> io::Result<Self> {
        let most = read(&folder.join("max_brightness"))?.max(1);
        let now = read(&folder.join("brightness"))?;
        let share = now as f32 / most as f32;
        Ok(Self {
            folder,
            most,
            brightness: ((share - LEAST) / (1.0 - LEAST)).clamp(0.0, 1.0),
        })
    }

    /// 0 to 1.
    pub fn brightness(&self) -> f32 {
        self.brightness
    }

    /// 0 to 1.
    pub fn set_brightness(&mut self, brightness: f32) -> io::Result<()> {
        let brightness = brightness.clamp(0.0, 1.0);
        let share = LEAST + brightness * (1.0 - LEAST);
        let value = ((share * self.most as f32).round() as u32).clamp(1, self.most);
        std::fs::write(self.folder.join("brightness"), value.to_string())?;
        self.brightness = brightness;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<u32> {
    std::fs::read_to_string(path)?
        .trim()
        .parse()
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_darkest_setting_is_still_lit() {
        let class = tempfile::tempdir().unwrap();
        let folder = class.path().join("panel0");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("max_brightness"), "255\n").unwrap();
        std::fs::write(folder.join("brightness"), "255\n").unwrap();
        let mut backlight = Backlight::find_in(class.path()).unwrap();
        assert_eq!(backlight.brightness(), 1.0);
        backlight.set_brightness(0.0).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.join("brightness")).unwrap(),
            "5"
        );
        backlight.set_brightness(7.0).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.join("brightness")).unwrap(),
            "255"
        );
    }

    #[test]
    fn a_machine_without_a_backlight_has_none() {
        assert!(Backlight::find_in(Path::new("/nonexistent")).is_none());
    }
}
