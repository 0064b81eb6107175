//! Every setting that there is.

use std::{fmt, path::PathBuf};

use crate::edition::Edition;
use crate::relay;

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// On or off.
    Boolean(bool),
    /// A number.
    Integer(i64),
    /// A text, or a word of a choice.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
}

/// What values a setting accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On or off.
    Boolean,
    /// From the one to the other, both included.
    Integer(i64, i64),
    /// One of these words.
    Choice(Vec<String>),
    /// At most this many bytes of UTF-8, without control characters.
    Text(u32),
    /// Texts of at most this many bytes each, no more than [`MOST_TEXTS`] of them.
    Texts(u32),
}

/// The most texts that a setting of kind [`Kind::Texts`] holds.
pub const MOST_TEXTS: usize = 16;

/// One setting, as this release defines it.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Dotted, such as `appearance.accent`.
    pub key: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// What it is until somebody changes it.
    pub default: Value,
    /// A sentence in English.
    pub description: &'static str,
    /// Whether other devices know it too.
    pub follows: Follows,
    /// What a value of this kind must be beside, for this key.
    rule: Rule,
}

/// Whether other devices know a setting too. What has to do with a screen, a place or a link is of
/// the device; what has to do with the eyes and the language of a person is the person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It stays on this device.
    Nobody,
    /// It is the person's, and the same on all the owner's devices. A device that many people use,
    /// such as a TV, has its own.
    Person,
    /// It is this device's, and the family knows it.
    Device,
}

/// What some settings ask beyond their kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    None,
    /// Not empty.
    Something,
    /// A zone of the IANA database, which is in this folder where there is one.
    Zone(PathBuf),
    /// Host names or addresses.
    Hosts,
    /// Addresses of web servers.
    Mirrors,
    /// The address of a relay, or nothing.
    Relay,
}

/// Every setting, in the order of keys.
#[derive(Clone, Debug)]
pub struct Registry(Vec<Definition>);

/// The accents, in the order in which they are offered.
const ACCENTS: [&str; 6] = ["tide", "ember", "iris", "moss", "rose", "slate"];

impl Registry {
    /// The settings of this release, with the defaults of an edition. `zones` is the folder of
    /// time zones; where it is missing, a zone is only checked for its form.
    ///
    /// Beside it are sentences on what in the edition could not be used.
    pub fn new(edition: &Edition, zones: PathBuf) -> (Registry, Vec<String>) {
        let mut registry = Registry(table(zones));
        let mut notices = Vec::new();
        if !edition.languages.is_empty()
            && let Some(language) = registry.find_mut("language")
        {
            language.default = Value::Text(edition.languages[0].clone());
            language.kind = Kind::Choice(edition.languages.clone());
        }
        for (key, value) in &edition.defaults {
            let Some(definition) = registry.find_mut(key) else {
                notices.push(format!(
                    "edition {}: there is no setting `{key}`",
                    edition.name
                ));
                continue;
            };
            match Value::from_toml(value).map_or_else(
                || Err("it is no value of any setting".to_owned()),
                |value| definition.check(&value).map(|()| value),
            ) {
                Ok(value) => definition.default = value,
                Err(reason) => {
                    notices.push(format!(
                        "edition {}: default of `{key}`: {reason}",
                        edition.name
                    ));
                }
            }
        }
        registry.0.sort_by_key(|definition| definition.key);
        (registry, notices)
    }

    /// The setting of that key.
    pub fn find(&self, key: &str) -> Option<&Definition> {
        self.0.iter().find(|definition| definition.key == key)
    }

    fn find_mut(&mut self, key: &str) -> Option<&mut Definition> {
        self.0.iter_mut().find(|definition| definition.key == key)
    }

    /// Every setting, in the order of keys.
    pub fn all(&self) -> impl Iterator<Item = &Definition> {
        self.0.iter()
    }
}

/// The table. A key is published with the release that first has it, and its kind is then fixed.
fn table(zones: PathBuf) -> Vec<Definition> {
    use Kind::{Boolean, Choice, Integer, Text, Texts};

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }
    let setting = |key, kind, default, description| Definition {
        key,
        kind,
        default,
        description,
        follows: Follows::Nobody,
        rule: Rule::None,
    };
    let person = |definition: Definition| Definition {
        follows: Follows::Person,
        ..definition
    };
    let text = |text: &str| Value::Text(text.to_owned());

    vec![
        person(setting(
            "appearance.theme",
            Choice(words(&["auto", "light", "dark"])),
            text("auto"),
            "Light or dark; `auto` is light from 7:00 to 19:00, local time, and dark otherwise.",
        )),
        person(setting(
            "appearance.accent",
            Choice(words(&ACCENTS)),
            text("tide"),
            "The colour of what is switched on, chosen or at work.",
        )),
        person(setting(
            "appearance.text-size",
            Integer(85, 200),
            Value::Integer(100),
            "The size of all text, in percent.",
        )),
        person(setting(
            "appearance.reduce-motion",
            Boolean,
            Value::Boolean(false),
            "Pages fade instead of moving.",
        )),
        setting(
            "display.screen-off-after",
            Integer(0, 24 * 60 * 60),
            Value::Integer(60),
            "Seconds without a touch or a key until the screen turns off; 0 is never.",
        ),
        setting(
            "display.brightness",
            Integer(5, 100),
            Value::Integer(70),
            "The brightness of the display, in percent.",
        ),
        person(setting(
            "language",
            Choice(words(&["en", "es", "zh-CN"])),
            text("en"),
            "The language of everything that the system says.",
        )),
        Definition {
            rule: Rule::Zone(zones),
            ..setting(
                "time.zone",
                Text(64),
                text("Etc/UTC"),
                "The time zone, by its name in the IANA database, such as `Europe/Madrid`.",
            )
        },
        person(setting(
            "time.hours-24",
            Boolean,
            Value::Boolean(true),
            "Whether the clock counts to 24 hours rather than twice to 12.",
        )),
        Definition {
            rule: Rule::Hosts,
            ..setting(
                "time.servers",
                Texts(253),
                Value::Texts(Vec::new()),
                "Servers to ask for the time, by name or address; empty asks those that the \
                 network offers, and none when it offers none.",
            )
        },
        person(setting(
            "lock.hint-seen",
            Boolean,
            Value::Boolean(false),
            "Whether the person has found out how to unlock, so that the hint can go.",
        )),
        setting(
            "notifications.do-not-disturb",
            Boolean,
            Value::Boolean(false),
            "Notifications wait in the shade, without a banner, unless they are urgent.",
        ),
        Definition {
            follows: Follows::Device,
            rule: Rule::Something,
            ..setting(
                "device.name",
                Text(64),
                text("HyperOS"),
                "What this device is called.",
            )
        },
        Definition {
            rule: Rule::Relay,
            ..person(setting(
                "family.relay",
                Text(253),
                text(""),
                "The relay of your own by which your devices reach each other when they are apart, by \
                 address, such as `https://relay.example:3340`; empty asks nobody outside of your home.",
            ))
        },
        setting(
            "update.channel",
            Choice(words(&["stable", "beta", "nightly"])),
            text("stable"),
            "Which releases this device follows.",
        ),
        Definition {
            rule: Rule::Mirrors,
            ..setting(
                "update.mirrors",
                Texts(512),
                Value::Texts(Vec::new()),
                "Where releases are looked for, by address; all are asked, and one that works is \
                 enough. Empty asks nobody.",
            )
        },
        setting(
            "update.automatic",
            Choice(words(&["off", "tell", "install", "restart"])),
            text("install"),
            "What this device does by itself about newer releases: nothing, look and tell, install \
             them beside the one that runs, or also restart into them at night.",
        ),
        setting(
            "network.enabled",
            Boolean,
            Value::Boolean(true),
            "Whether this device uses any network at all.",
        ),
    ]
}

impl Definition {
    /// Whether the value fits; if not, a sentence that says what would.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        match (&self.kind, value) {
            (Kind::Boolean, Value::Boolean(_)) => Ok(()),
            (Kind::Integer(least, most), Value::Integer(number))
                if (least..=most).contains(&number) =>
            {
                Ok(())
            }
            (Kind::Choice(words), Value::Text(word)) if words.contains(word) => Ok(()),
            (Kind::Text(most), Value::Text(text)) => fits(text, *most),
            (Kind::Texts(most), Value::Texts(texts)) => {
                if texts.len() > MOST_TEXTS {
                    Err(format!(
                        "at most {MOST_TEXTS} texts fit, not {}",
                        texts.len()
                    ))
                } else {
                    texts.iter().try_for_each(|text| fits(text, *most))
                }
            }
            (kind, value) => Err(format!("`{}` takes {kind}, not {value}", self.key)),
        }?;
        self.rule.check(value)
    }
}

fn fits(text: &str, most: u32) -> Result<(), String> {
    if text.len() > most as usize {
        Err(format!("at most {most} bytes fit, not {}", text.len()))
    } else if text.chars().any(char::is_control) {
        Err("a text has no control characters".to_owned())
    } else {
        Ok(())
    }
}

impl Rule {
    fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Rule::Something, Value::Text(text)) if text.trim().is_empty() => {
                Err("it must not be empty".to_owned())
            }
            (Rule::Zone(folder), Value::Text(zone)) => {
                // Each part begins with a letter, so that no name leaves the folder.
                let formed = zone.split('/').all(|part| {
                    part.starts_with(|c: char| c.is_ascii_alphabetic())
                        && part
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
                });
                if !formed {
                    Err(format!(
                        "`{zone}` is no name of a time zone such as `Europe/Madrid`"
                    ))
                } else if folder.is_dir() && !folder.join(zone).is_file() {
                    Err(format!("this release has no time zone `{zone}`"))
                } else {
                    Ok(())
                }
            }
            (Rule::Hosts, Value::Texts(hosts)) => hosts.iter().try_for_each(|host| {
                let named = !host.is_empty()
                    && host
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c));
                if named {
                    Ok(())
                } else {
                    Err(format!("`{host}` is neither a host name nor an address"))
                }
            }),
            (Rule::Mirrors, Value::Texts(mirrors)) => mirrors.iter().try_for_each(|mirror| {
                let rest = ["http://", "https://"]
                    .iter()
                    .find_map(|scheme| mirror.strip_prefix(scheme));
                match rest {
                    Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => Ok(()),
                    _ => Err(format!(
                        "`{mirror}` is no address such as `https://releases.example/hyperos`"
                    )),
                }
            }),
            (Rule::Relay, Value::Text(text)) if !text.is_empty() && !relay::is_address(text) => {
                Err(format!(
                    "`{text}` is no address of a relay such as `https://relay.example:3340`, or \
                     `http://192.168.1.20:3340` where there is no certificate"
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Value {
    /// The value as it stands in a file; none for what is no value of any setting.
    pub fn from_toml(value: &toml::Value) -> Option<Value> {
        match value {
            toml::Value::Boolean(value) => Some(Value::Boolean(*value)),
            toml::Value::Integer(value) => Some(Value::Integer(*value)),
            toml::Value::String(value) => Some(Value::Text(value.clone())),
            toml::Value::Array(values) => values
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Value::Texts),
            _ => None,
        }
    }

    /// The value for a file.
    pub fn to_toml(&self) -> toml::Value {
        match self {
            Value::Boolean(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::Texts(values) => values.clone().into(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Text(value) => write!(f, "{value:?}"),
            Value::Texts(values) => write!(f, "{values:?}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Boolean => write!(f, "true or false"),
            Kind::Integer(least, most) => write!(f, "a number from {least} to {most}"),
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Kind::Text(most) => write!(f, "a text of at most {most} bytes"),
            Kind::Texts(most) => write!(f, "a list of texts of at most {most} bytes each"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registry() -> Registry {
        Registry::new(&Edition::default(), PathBuf::from("/nonexistent")).0
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<String>().prop_map(Value::Text),
            any::<Vec<String>>().prop_map(Value::Texts),
        ]
    }

    #[test]
    fn every_default_fits_and_every_key_stands_once_in_order() {
        let registry = registry();
        let keys: Vec<_> = registry.all().map(|definition| definition.key).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(keys, sorted);
        for definition in registry.all() {
            assert_eq!(
                definition.check(&definition.default),
                Ok(()),
                "{}",
                definition.key
            );
            assert!(definition.description.ends_with('.'), "{}", definition.key);
        }
    }

    #[test]
    fn what_follows_is_the_persons_and_of_a_kind_that_documents_hold() {
        let registry = registry();
        let following = |whose| -> Vec<&str> {
            let all = registry.all();
            all.filter(|definition| definition.follows == whose)
                .map(|definition| definition.key)
                .collect()
        };
        assert_eq!(following(Follows::Device), ["device.name"]);
        let person = following(Follows::Person);
        for key in ["language", "appearance.text-size", "appearance.theme"] {
            assert!(person.contains(&key), "{key}");
        }
        for key in ["display.brightness", "time.zone", "network.enabled"] {
            assert!(!person.contains(&key), "{key} is of the device");
        }
        for key in person {
            let kind = &registry.find(key).expect("it was listed").kind;
            assert!(!matches!(kind, Kind::Texts(_)), "{key}");
        }
    }

    #[test]
    fn the_editions_of_the_repository_are_good() {
        for text in [
            include_str!("../../../editions/global.toml"),
            include_str!("../../../editions/china.toml"),
        ] {
            let edition = Edition::parse(text).expect("it is an edition");
            let (registry, notices) = Registry::new(&edition, PathBuf::new());
            assert_eq!(notices, Vec::<String>::new());
            let language = registry.find("language").expect("it is in the table");
            assert_eq!(language.default, Value::Text(edition.languages[0].clone()));
        }
    }

    #[test]
    fn what_an_edition_gets_wrong_is_said_and_left_out() {
        let edition = Edition::parse(
            "name = \"x\"\n[defaults]\n\"no.such\" = 1\n\"display.brightness\" = 900\n",
        )
        .expect("it is an edition");
        let (registry, notices) = Registry::new(&edition, PathBuf::new());
        assert_eq!(notices.len(), 2, "{notices:?}");
        let brightness = registry
            .find("display.brightness")
            .expect("it is in the table");
        assert_eq!(brightness.default, Value::Integer(70));
    }

    #[test]
    fn refusals_say_what_would_fit() {
        let registry = registry();
        let refusal = |key: &str, value| {
            registry
                .find(key)
                .expect(key)
                .check(&value)
                .expect_err("it does not fit")
        };
        assert!(refusal("appearance.text-size", Value::Integer(84)).contains("from 85 to 200"));
        assert!(refusal("appearance.accent", Value::Text("red".into())).contains("tide, ember"));
        assert!(refusal("time.hours-24", Value::Integer(1)).contains("true or false"));
        assert!(refusal("device.name", Value::Text(" ".into())).contains("empty"));
        for zone in [
            "",
            "../../etc/passwd",
            "Europe/../x",
            "/etc/passwd",
            "Europe//Madrid",
        ] {
            assert!(refusal("time.zone", Value::Text(zone.into())).contains("time zone"));
        }
        refusal("time.servers", Value::Texts(vec!["a b".into()]));
        let relay = refusal("family.relay", Value::Text("relay".into()));
        assert!(relay.contains("https://relay.example:3340"), "{relay}");
        refusal("time.servers", Value::Texts(vec!["a".into(); 17]));
    }

    #[test]
    fn a_zone_that_the_release_does_not_have_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("Europe")).unwrap();
        std::fs::write(folder.path().join("Europe/Madrid"), "TZif").unwrap();
        let (registry, _) = Registry::new(&Edition::default(), folder.path().to_owned());
        let zone = registry.find("time.zone").expect("it is in the table");
        assert_eq!(zone.check(&Value::Text("Europe/Madrid".into())), Ok(()));
        assert!(zone.check(&Value::Text("Europe/Atlantis".into())).is_err());
        assert!(zone.check(&Value::Text("Europe".into())).is_err());
    }

    proptest! {
        #[test]
        fn any_value_is_judged_and_survives_the_file(value in value()) {
            for definition in registry().all() {
                if definition.check(&value).is_ok() {
                    prop_assert_eq!(Value::from_toml(&value.to_toml()), Some(value.clone()));
                }
            }
        }
    }
}
