//! Every sentence on the screen is there in every language, and colours come from the tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.slint` file with its text.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "slint")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder(), &mut found);
    assert!(
        found.len() > 10,
        "the sources of the design are not where this test looks"
    );
    found
}

/// The text in quotes at the beginning, with what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start().strip_prefix('"')?;
    let mut end = 0;
    let bytes = text.as_bytes();
    while bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some((text[..end].to_owned(), &text[end + 1..]))
}

/// Every sentence of the sources, with whether it has a plural.
fn sentences() -> BTreeMap<String, bool> {
    let mut sentences = BTreeMap::new();
    for (path, text) in sources() {
        for call in text.split("@tr(").skip(1) {
            let (sentence, rest) = quoted(call).unwrap_or_else(|| panic!("{}", path.display()));
            sentences.insert(sentence, rest.trim_start().starts_with('|'));
        }
    }
    assert!(sentences.len() > 100);
    sentences
}

/// The translations of a language: each sentence with its forms.
fn translations(language: &str) -> BTreeMap<String, Vec<String>> {
    let file = folder().join(format!("lang/{language}/LC_MESSAGES/ui.po"));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut sentence = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("msgid ") {
            sentence = quoted(rest).unwrap().0;
        } else if line.starts_with("msgstr") {
            let form = quoted(line.split_once(' ').unwrap().1).unwrap().0;
            found.entry(sentence.clone()).or_default().push(form);
        }
    }
    found.remove("");
    found
}

/// The places in a sentence where a value goes.
fn places(sentence: &str) -> BTreeSet<String> {
    sentence
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}').map(|(name, _)| name.to_owned()))
        .collect()
}

#[test]
fn every_sentence_is_translated_and_keeps_its_places() {
    let sentences = sentences();
    for language in ui::LANGUAGES.iter().filter(|language| **language != "en") {
        let translations = translations(language);
        for (sentence, plural) in &sentences {
            let Some(forms) = translations.get(sentence) else {
                panic!("{language}: “{sentence}” is not translated");
            };
            assert!(
                *plural || forms.len() == 1,
                "{language}: “{sentence}” has no plural"
            );
            for form in forms {
                assert!(!form.trim().is_empty(), "{language}: “{sentence}” is empty");
                assert_eq!(places(form), places(sentence), "{language}: “{form}”");
            }
        }
        for sentence in translations.keys() {
            assert!(
                sentences.contains_key(sentence),
                "{language}: “{sentence}” is said nowhere"
            );
        }
    }
}

/// The values of a key in the first lines of TOML files, by file.
fn said_by(folder: &Path, key: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = ")));
        found.push((entry.path(), quoted(line.unwrap()).unwrap().0));
    }
    found
}

#[test]
fn what_manifests_and_editions_say_is_translated() {
    let names = std::fs::read_to_string(folder().join("names.slint")).unwrap();
    let root = folder().join("..");
    let mut manifests = Vec::new();
    for program in std::fs::read_dir(root.join("system")).unwrap().flatten() {
        manifests.extend(said_by(&program.path().join("services"), "description"));
    }
    assert!(manifests.len() >= 5, "{manifests:?}");
    for (file, description) in manifests {
        assert!(
            names.contains(&format!("@tr({description:?})")),
            "{}: “{description}” is missing in ui/names.slint",
            file.display()
        );
    }
    for (file, name) in said_by(&root.join("editions"), "name") {
        assert!(
            names.contains(&format!("name == {name:?}")),
            "{}: “{name}” is missing in ui/names.slint",
            file.display()
        );
    }
}

/// The interfaces, without their versions, that manifests of a folder share with other devices.
fn shared_by(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let Some((_, list)) = text.split_once("\nshares = [") else {
            continue;
        };
        let (list, _) = list.split_once(']').unwrap();
        let names = list.split('"').skip(1).step_by(2);
        found.extend(names.map(|name| name.split('@').next().unwrap().to_owned()));
    }
    found
}

#[test]
fn what_a_device_may_ask_for_has_a_name_for_people() {
    let interfaces = std::fs::read_to_string(folder().join("interfaces.slint")).unwrap();
    let (titles, purposes) = interfaces.split_once("function purpose").unwrap();
    let mut shared = Vec::new();
    for program in std::fs::read_dir(folder().join("../system"))
        .unwrap()
        .flatten()
    {
        shared.extend(shared_by(&program.path().join("services")));
    }
    // Every role may call that.
    shared.retain(|name| name != "hyper:state/replica");
    assert!(shared.len() >= 3, "{shared:?}");
    for name in shared {
        for (what, said) in [("title", titles), ("purpose", purposes)] {
            assert!(
                said.contains(&format!("{name:?}")),
                "{name} has no {what} in ui/interfaces.slint"
            );
        }
    }
}

#[test]
fn chinese_is_written_in_chinese() {
    for (sentence, forms) in translations("zh-CN") {
        assert!(
            forms
                .iter()
                .all(|form| form.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))),
            "“{sentence}”"
        );
    }
}

#[test]
fn colours_are_named_in_the_tokens_only() {
    for (path, text) in sources() {
        if path.ends_with("tokens.slint") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let hex = code
                .split('#')
                .skip(1)
                .any(|after| after.chars().take_while(char::is_ascii_hexdigit).count() >= 3);
            assert!(!hex, "{}:{}: {line}", path.display(), number + 1);
        }
    }
}
