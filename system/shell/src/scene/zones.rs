//! Time zones: those of the release, and how a person finds theirs.

use jiff::{Timestamp, tz::TimeZone, tz::TimeZoneDatabase};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// A zone as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Such as `Europe/Madrid`.
    pub id: String,
    /// Such as `Madrid`.
    pub city: String,
    /// Such as `Europe`.
    pub region: String,
    /// Such as `+01:00`, now.
    pub offset: String,
}

/// What is listed before a word is typed: one large city for most hours of the day.
const FIRST: [&str; 24] = [
    "Pacific/Honolulu",
    "America/Anchorage",
    "America/Los_Angeles",
    "America/Denver",
    "America/Mexico_City",
    "America/Chicago",
    "America/Bogota",
    "America/New_York",
    "America/Santiago",
    "America/Argentina/Buenos_Aires",
    "America/Sao_Paulo",
    "Etc/UTC",
    "Europe/London",
    "Africa/Lagos",
    "Europe/Madrid",
    "Europe/Berlin",
    "Africa/Cairo",
    "Europe/Moscow",
    "Asia/Dubai",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Pacific/Auckland",
];

/// More are not listed: who has not found theirs types another letter.
const MOST: usize = 40;

/// The zones of the release.
///
/// The owner's own zone is read from its file alone. The list of all is made by walking through some
/// six hundred files, and by the first who asks for it: the first frame never does.
#[derive(Debug, Clone)]
pub struct Zones {
    folder: PathBuf,
    all: OnceCell<TimeZoneDatabase>,
}

impl Zones {
    /// The zones in `share/zoneinfo` of the system's folder; where there are none, those of the
    /// machine that the shell runs on.
    pub fn of(system: &Path) -> Self {
        Self {
            folder: system.join("share/zoneinfo"),
            all: OnceCell::new(),
        }
    }

    fn all(&self) -> &TimeZoneDatabase {
        self.all.get_or_init(|| {
            TimeZoneDatabase::from_dir(&self.folder)
                .unwrap_or_else(|_| TimeZoneDatabase::from_env())
        })
    }

    /// The zone in the file of that name.
    fn read(&self, name: &str) -> Option<TimeZone> {
        // Names come from a setting; they never lead out of the folder.
        let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
        if !name.split('/').all(plain) {
            return None;
        }
        let data = std::fs::read(self.folder.join(name)).ok()?;
        TimeZone::tzif(name, &data).ok()
    }

    /// A zone by its name; UTC for a name that this release does not have.
    pub fn get(&self, name: &str) -> TimeZone {
        if name == "Etc/UTC" {
            return TimeZone::UTC;
        }
        self.read(name)
            .or_else(|| self.all().get(name).ok())
            .unwrap_or(TimeZone::UTC)
    }

    /// The zones whose name has every word that was typed, at most 40, west to east where nothing
    /// was typed.
    pub fn search(&self, typed: &str, now: Timestamp) -> Vec<Listed> {
        let words: Vec<String> = typed
            .to_lowercase()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            return FIRST.iter().filter_map(|id| self.listed(id, now)).collect();
        }
        let mut found: Vec<Listed> = self
            .all()
            .available()
            .filter(|name| {
                let name = name.as_str();
                let plain = name.to_lowercase().replace(['_', '/'], " ");
                (name.contains('/') || name == "UTC")
                    && !["posix/", "right/", "SystemV/"]
                        .iter()
                        .any(|p| name.starts_with(p))
                    && words.iter().all(|word| plain.contains(word.as_str()))
            })
            .filter_map(|name| self.listed(name.as_str(), now))
            .collect();
        // A city that begins with what was typed comes first.
        let begins = |zone: &Listed| !zone.city.to_lowercase().starts_with(&words[0]);
        found.sort_by(|a, b| (begins(a), &a.city).cmp(&(begins(b), &b.city)));
        found.truncate(MOST);
        found
    }

    fn listed(&self, id: &str, now: Timestamp) -> Option<Listed> {
        let zone = self.all().get(id).ok()?;
        let (region, city) = id.rsplit_once('/').unwrap_or(("", id));
        let seconds = zone.to_offset(now).seconds();
        let (sign, seconds) = if seconds < 0 {
            ('−', -seconds)
        } else {
            ('+', seconds)
        };
        Some(Listed {
            id: id.to_owned(),
            city: city.replace('_', " "),
            region: region.replace('_', " ").replace('/', ", "),
            offset: format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Zones;
    use jiff::Timestamp;
    use std::path::Path;

    fn zones() -> Zones {
        Zones::of(Path::new("/nonexistent"))
    }

    #[test]
    fn a_city_is_found_by_its_first_letters() {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let found = zones().search("madr", now);
        assert_eq!(found[0].id, "Europe/Madrid");
        assert_eq!(found[0].city, "Madrid");
        assert_eq!(found[0].offset, "+01:00");
        assert!(
            zones()
                .search("new york", now)
                .iter()
                .any(|z| z.id == "America/New_York")
        );
        assert!(zones().search("nowhere at all", now).is_empty());
    }

    #[test]
    fn a_zone_of_the_release_is_read_from_its_own_file() {
        let system = tempfile::tempdir().unwrap();
        let folder = system.path().join("share/zoneinfo/Europe");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy("/usr/share/zoneinfo/Europe/Madrid", folder.join("Madrid")).unwrap();
        let zones = Zones::of(system.path());
        let winter = Timestamp::from_second(1_795_000_000).unwrap();
        let madrid = zones.get("Europe/Madrid");
        assert_eq!(madrid.to_offset(winter).seconds(), 3600);
        assert!(zones.all.get().is_none(), "all zones were looked through");
        assert_eq!(zones.read("../zoneinfo/Europe/Madrid"), None);
        assert_eq!(zones.read("/usr/share/zoneinfo/Europe/Madrid"), None);
    }

    #[test]
    fn an_unknown_zone_is_utc() {
        assert_eq!(zones().get("Moon/Tranquillity"), jiff::tz::TimeZone::UTC);
    }
}
