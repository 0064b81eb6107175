use super::*;
use proptest::prelude::*;

const WHOLE: &str = r#"
description = "Keeps the settings of this device"
program = "/system/hyper"
arguments = ["service", "settings"]
user = 1001
serves = ["hyper:settings/settings@1.0.0"]
calls = ["hyper:notify/notify@1.0.0"]
start = "boot"
[access]
read = ["/system/share/zoneinfo"]
devices = ["dri", "input"]
network = false
capabilities = ["net-admin"]
[limits]
memory = "32 MiB"
processor = 50
processes = 16
[restart]
first-delay = "20 ms"
longest-delay = "1 min"
steady = "30 s"
[health]
every = "10 s"
within = "5 s"
[exceptions]
"pid-namespace" = "it has to see who holds the display"
"#;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse("settings", Path::new("settings.toml"), text)
}

#[test]
fn a_whole_manifest_is_read() {
    let manifest = parse(WHOLE).unwrap();
    assert_eq!(manifest.user, 1001);
    assert_eq!(manifest.start, Start::Boot);
    assert_eq!(manifest.limits.memory, 32 << 20);
    assert_eq!(manifest.restart.longest_delay, Duration::from_secs(60));
    assert_eq!(
        manifest.health.clone().unwrap().every,
        Duration::from_secs(10)
    );
    assert!(manifest.access.devices.contains(&DeviceGroup::Input));
    assert!(manifest.access.capabilities.contains(&Capability::NetAdmin));
    assert!(!manifest.applies(Measure::PidNamespace));
    assert!(manifest.applies(Measure::Landlock));
}

#[test]
fn a_short_manifest_gets_the_strict_side_of_everything() {
    let manifest =
        parse("description = \"d\"\nprogram = \"/system/hyper\"\nuser = 1001\n").unwrap();
    assert_eq!(manifest.start, Start::Call);
    assert_eq!(manifest.access, Access::default());
    assert_eq!(
        manifest.limits,
        Limits {
            memory: 64 << 20,
            processor: None,
            processes: 32
        }
    );
    assert!(
        Measure::ALL
            .into_iter()
            .all(|measure| manifest.applies(measure))
    );
}

#[test]
fn errors_name_line_column_and_reason() {
    for (from, to, line, column, reason) in [
        ("user = 1001", "user = 0", 5, 8, "user"),
        ("user = 1001", "usr = 1001", 5, 1, "unknown field `usr`"),
        ("\"32 MiB\"", "\"32 MB\"", 15, 10, "32 MB"),
        (
            "settings@1.0.0",
            "settings",
            6,
            11,
            "interface with its version",
        ),
        ("\"net-admin\"", "\"sys-admin\"", 13, 17, "sys-admin"),
        ("\"/system/hyper\"", "\"../hyper\"", 3, 11, "not a path"),
        (
            "\"it has to see who holds the display\"",
            "\"\"",
            26,
            19,
            "reason",
        ),
        ("\"pid-namespace\"", "\"all\"", 26, 1, "not a measure"),
        ("user = 1001", "user = \"x", 5, 10, ""),
        ("\"boot\"", "\"later\"", 8, 9, "later"),
    ] {
        let error = parse(&WHOLE.replacen(from, to, 1)).unwrap_err();
        assert_eq!(
            (error.line(), error.column()),
            (line, column),
            "{to}: {error}"
        );
        assert!(error.reason().contains(reason), "{to}: {error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("settings.toml:{line}:{column}: "))
        );
    }
}

#[test]
fn a_broken_manifest_costs_only_its_own_service() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("settings.toml"), WHOLE).unwrap();
    std::fs::write(folder.path().join("broken.toml"), "user = ").unwrap();
    std::fs::write(folder.path().join("twin.toml"), WHOLE).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a manifest").unwrap();
    let loaded = load(folder.path()).unwrap();
    let names: Vec<_> = loaded
        .iter()
        .map(|(name, manifest)| (name.as_str(), manifest.is_ok()))
        .collect();
    assert_eq!(
        names,
        [("broken", false), ("settings", true), ("twin", false)]
    );
    let twin = loaded[2].1.as_ref().unwrap_err();
    assert!(twin.reason().contains("`settings` already"), "{twin}");
}

proptest! {
    #[test]
    fn no_text_ends_the_parser(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_change_of_a_manifest_ends_the_parser(
        at in 0..WHOLE.len(), length in 0usize..12, new in "[a-z0-9\"\\[\\]=.\\n -]{0,12}"
    ) {
        let end = (at + length).min(WHOLE.len());
        let text = format!("{}{new}{}", &WHOLE[..at], &WHOLE[end..]);
        if let Err(error) = parse(&text) {
            prop_assert!(error.line() <= text.lines().count() + 1);
            prop_assert!(!error.reason().is_empty());
        }
    }
}
