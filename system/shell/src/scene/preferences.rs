//! The settings that the screen follows, as it last knew them.
//!
//! They come from the settings service, which the first frame does not wait for. So the screen
//! keeps a copy in its own folder, written each time that one changes: after a start the lock screen
//! has the owner's colours, language and zone at once, and when the service answers nothing jumps.
//! The copy is a convenience and never the truth; when it cannot be read, the defaults stand.

use super::words::Language;
use bus::settings::Value;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Whether the screen is light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Light from 7:00 to 19:00.
    ByDaytime,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

/// Every theme, in the order of `Preferences.theme` on the screen, with the setting's word.
pub const THEMES: [(Theme, &str); 3] = [
    (Theme::ByDaytime, "auto"),
    (Theme::Light, "light"),
    (Theme::Dark, "dark"),
];

/// The words of `update.automatic`, in the order of their rows.
pub const AUTOMATIC: [&str; 4] = ["off", "tell", "install", "restart"];
/// The words of `update.channel`, in the order of their rows.
pub const CHANNELS: [&str; 3] = ["stable", "beta", "nightly"];

/// Takes the place of a word; one of a later release changes nothing.
fn place(words: &[&str], word: &str, to: &mut usize) {
    if let Some(place) = words.iter().position(|other| *other == word) {
        *to = place;
    }
}

/// The settings that the screen follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Preferences {
    /// `appearance.theme`
    pub theme: Theme,
    /// `appearance.accent`, as its place in [`ui::ACCENTS`].
    pub accent: usize,
    /// `appearance.text-size`, in percent.
    pub text_size: i64,
    /// `appearance.reduce-motion`
    pub reduce_motion: bool,
    /// `display.screen-off-after`, in seconds; 0 for never.
    pub screen_off_after: i64,
    /// `display.brightness`, in percent.
    pub brightness: i64,
    /// `language`
    pub language: Language,
    /// `time.zone`
    pub zone: String,
    /// `time.hours-24`
    pub hours_24: bool,
    /// `time.servers`
    pub time_servers: Vec<String>,
    /// `lock.hint-seen`
    pub hint_seen: bool,
    /// `notifications.do-not-disturb`
    pub do_not_disturb: bool,
    /// `device.name`
    pub name: String,
    /// `network.enabled`
    pub network: bool,
    /// `update.automatic`, as its place in [`AUTOMATIC`].
    pub automatic: usize,
    /// `update.channel`, as its place in [`CHANNELS`].
    pub channel: usize,
    /// `update.mirrors`
    pub mirrors: Vec<String>,
    /// `family.relay`
    pub relay: String,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            theme: Theme::ByDaytime,
            accent: 0,
            text_size: 100,
            reduce_motion: false,
            screen_off_after: 60,
            brightness: 70,
            language: Language::English,
            zone: "Etc/UTC".into(),
            hours_24: true,
            time_servers: Vec::new(),
            hint_seen: false,
            do_not_disturb: false,
            name: "HyperOS".into(),
            network: true,
            automatic: 2,
            channel: 0,
            mirrors: Vec::new(),
            relay: String::new(),
        }
    }
}

impl Preferences {
    /// Takes over one setting. A key or a value that the screen does not know changes nothing.
    pub fn take(&mut self, key: &str, value: &Value) {
        match (key, value) {
            ("appearance.theme", Value::Text(word)) => {
                if let Some((theme, _)) = THEMES.iter().find(|(_, name)| name == word) {
                    self.theme = *theme;
                }
            }
            ("appearance.accent", Value::Text(word)) => {
                if let Some(index) = ui::ACCENTS.iter().position(|name| name == word) {
                    self.accent = index;
                }
            }
            ("appearance.text-size", Value::Integer(percent)) => {
                self.text_size = (*percent).clamp(85, 200);
            }
            ("appearance.reduce-motion", Value::Boolean(on)) => self.reduce_motion = *on,
            ("display.screen-off-after", Value::Integer(seconds)) => {
                self.screen_off_after = (*seconds).max(0);
            }
            ("display.brightness", Value::Integer(percent)) => {
                self.brightness = (*percent).clamp(1, 100);
            }
            ("language", Value::Text(tag)) => self.language = Language::from_tag(tag),
            ("time.zone", Value::Text(zone)) => self.zone.clone_from(zone),
            ("time.hours-24", Value::Boolean(on)) => self.hours_24 = *on,
            ("time.servers", Value::Texts(servers)) => self.time_servers.clone_from(servers),
            ("lock.hint-seen", Value::Boolean(seen)) => self.hint_seen = *seen,
            ("notifications.do-not-disturb", Value::Boolean(on)) => self.do_not_disturb = *on,
            ("device.name", Value::Text(name)) => self.name.clone_from(name),
            ("network.enabled", Value::Boolean(on)) => self.network = *on,
            ("update.automatic", Value::Text(word)) => place(&AUTOMATIC, word, &mut self.automatic),
            ("update.channel", Value::Text(word)) => place(&CHANNELS, word, &mut self.channel),
            ("update.mirrors", Value::Texts(mirrors)) => self.mirrors.clone_from(mirrors),
            ("family.relay", Value::Text(relay)) => self.relay.clone_from(relay),
            _ => {}
        }
    }

    /// Whether the screen is dark at an hour of the day.
    pub fn is_dark(&self, hour: i8) -> bool {
        match self.theme {
            Theme::ByDaytime => !(7..19).contains(&hour),
            Theme::Light => false,
            Theme::Dark => true,
        }
    }

    /// Each setting that the copy keeps, by its key.
    fn entries(&self) -> Vec<(&'static str, Value)> {
        let theme = THEMES
            .iter()
            .find(|(theme, _)| *theme == self.theme)
            .map_or("auto", |t| t.1);
        vec![
            ("appearance.theme", Value::Text(theme.into())),
            (
                "appearance.accent",
                Value::Text(ui::ACCENTS[self.accent].into()),
            ),
            ("appearance.text-size", Value::Integer(self.text_size)),
            (
                "appearance.reduce-motion",
                Value::Boolean(self.reduce_motion),
            ),
            (
                "display.screen-off-after",
                Value::Integer(self.screen_off_after),
            ),
            ("display.brightness", Value::Integer(self.brightness)),
            ("language", Value::Text(self.language.tag().into())),
            ("time.zone", Value::Text(self.zone.clone())),
            ("time.hours-24", Value::Boolean(self.hours_24)),
            ("lock.hint-seen", Value::Boolean(self.hint_seen)),
            (
                "notifications.do-not-disturb",
                Value::Boolean(self.do_not_disturb),
            ),
            ("device.name", Value::Text(self.name.clone())),
        ]
    }

    /// The copy as text: a line a setting, its key, the kind of its value, and the value.
    fn to_text(&self) -> String {
        let mut text = String::from("hyperos screen 1\n");
        for (key, value) in self.entries() {
            let _ = match value {
                Value::Boolean(on) => writeln!(text, "{key} boolean {on}"),
                Value::Integer(number) => writeln!(text, "{key} integer {number}"),
                Value::Text(words) => writeln!(text, "{key} text {}", words.replace('\n', " ")),
                Value::Texts(_) => Ok(()),
            };
        }
        text
    }

    fn from_text(text: &str) -> Self {
        let mut preferences = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some("hyperos screen 1") {
            return preferences;
        }
        for line in lines {
            let mut parts = line.splitn(3, ' ');
            let (Some(key), Some(kind), Some(value)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let value = match kind {
                "boolean" => value.parse().ok().map(Value::Boolean),
                "integer" => value.parse().ok().map(Value::Integer),
                "text" => Some(Value::Text(value.into())),
                _ => None,
            };
            if let Some(value) = value {
                preferences.take(key, &value);
            }
        }
        preferences
    }

    /// The copy in a folder; the defaults where there is none that can be read.
    pub fn load(folder: &Path) -> Self {
        std::fs::read_to_string(folder.join("last-known"))
            .map_or_else(|_| Self::default(), |text| Self::from_text(&text))
    }

    /// Keeps the copy: beside the old one first, then in its place. It is not forced to the disk:
    /// losing it costs one start in default colours.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join("last-known.new");
        std::fs::write(&new, self.to_text())?;
        std::fs::rename(&new, folder.join("last-known"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Preferences, Theme};
    use crate::scene::words::Language;
    use bus::settings::Value;

    #[test]
    fn the_copy_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut preferences = Preferences::default();
        preferences.take("appearance.theme", &Value::Text("light".into()));
        preferences.take("appearance.accent", &Value::Text("rose".into()));
        preferences.take("language", &Value::Text("zh-CN".into()));
        preferences.take("device.name", &Value::Text("Kitchen phone".into()));
        preferences.take("appearance.text-size", &Value::Integer(150));
        preferences.save(folder.path()).unwrap();
        let again = Preferences::load(folder.path());
        assert_eq!(again, preferences);
        assert_eq!((again.theme, again.accent), (Theme::Light, 4));
        assert_eq!(again.language, Language::Chinese);
    }

    #[test]
    fn a_damaged_copy_is_the_defaults_where_it_is_damaged() {
        let text = "hyperos screen 1\nappearance.accent text chartreuse\ntime.hours-24 boolean no\n\
                    appearance.text-size integer 900\n\u{0}\n";
        let preferences = Preferences::from_text(text);
        assert_eq!(preferences.text_size, 200);
        assert_eq!(
            Preferences {
                text_size: 100,
                ..preferences
            },
            Preferences::default()
        );
        assert_eq!(
            Preferences::from_text("something else"),
            Preferences::default()
        );
    }

    #[test]
    fn the_day_decides_when_it_should() {
        let mut preferences = Preferences::default();
        assert!(preferences.is_dark(6) && !preferences.is_dark(7));
        assert!(!preferences.is_dark(18) && preferences.is_dark(19));
        preferences.theme = Theme::Dark;
        assert!(preferences.is_dark(12));
    }
}
