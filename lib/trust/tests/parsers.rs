//! Whatever arrives, the parsers answer: they never panic, and take nothing that is not in its
//! one form.

mod common;

use common::{first, key, rest};
use proptest::prelude::*;
use trust::{
    identity::{DeviceId, Identity},
    log::{Action, Entry, Interfaces, Log, Role},
    recovery::{Claim, Phrase, PhraseError, WORDS, greetings, is_greeted},
};

fn log() -> Log {
    let mut log = Log::found(&key(0), "Phone", Some(key(9).id()), 1).unwrap();
    let added = Action::Added {
        device: key(1).id(),
        role: Role::Owner,
        name: "Tablet".into(),
    };
    log.write(&key(0), added, 2).unwrap();
    log
}

proptest! {
    #[test]
    fn no_bytes_are_an_entry_unless_they_were_signed(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Entry::decode(&bytes).is_err());
        prop_assert!(Log::open(&bytes).is_err());
        prop_assert!(log().insert(&bytes).is_err());
    }

    #[test]
    fn a_cut_or_longer_entry_is_none(cut in any::<prop::sample::Index>(), more in prop::collection::vec(any::<u8>(), 1..40)) {
        let log = log();
        for entry in rest(&log).into_iter().chain([first(&log)]) {
            prop_assert!(Entry::decode(&entry[..cut.index(entry.len())]).is_err());
            prop_assert!(Entry::decode(&[&entry[..], &more].concat()).is_err());
        }
    }

    #[test]
    fn a_signed_body_of_any_content_never_panics(kind in any::<u8>(), content in prop::collection::vec(any::<u8>(), 0..300)) {
        // Signed by an owner device, so that it gets as far as the rules.
        let mut log = log();
        let before = log.family();
        if log.write(&key(0), Action::Unknown { kind, content }, 0).is_ok() {
            let copy = common::log_of(&first(&log), rest(&log).iter().map(Vec::as_slice));
            prop_assert_eq!(copy.family(), log.family());
        } else {
            prop_assert_eq!(before, log.family());
        }
    }

    #[test]
    fn a_device_id_is_what_it_is_written_as(bytes in any::<[u8; 32]>(), text in ".{0,80}") {
        if let Ok(id) = DeviceId::from_bytes(&bytes) {
            prop_assert_eq!(id.as_bytes(), &bytes);
            prop_assert_eq!(id.to_string().parse::<DeviceId>(), Ok(id));
        }
        let _ = text.parse::<DeviceId>();
    }

    #[test]
    fn a_pattern_contains_only_interfaces(text in "[a-z:/@*0-9.-]{0,40}", asked in "[a-z:/@*0-9.-]{0,40}") {
        if let Ok(pattern) = text.parse::<Interfaces>()
            && pattern.contain(&asked)
        {
            prop_assert!(asked.contains(':') && asked.contains('/') && !asked.contains('*'));
        }
    }

    #[test]
    fn a_phrase_is_read_as_it_is_written_however_it_is_typed(upper in any::<bool>(), short in any::<bool>(), between in "[ ,.\n0-9]{1,4}") {
        let phrase = Phrase::generate().unwrap();
        let typed: Vec<String> = phrase.words().map(|word| {
            let word = if short && word.len() > 4 { &word[..4] } else { word };
            if upper { word.to_uppercase() } else { word.to_owned() }
        }).collect();
        let read = Phrase::read(&typed.join(&between)).unwrap();
        prop_assert!(read == phrase);
        prop_assert_eq!(read.key().id(), phrase.key().id());
    }

    #[test]
    fn no_text_makes_a_phrase_panic(text in ".{0,200}", words in prop::collection::vec("[a-z]{1,8}", WORDS)) {
        let _ = Phrase::read(&text);
        let _ = Phrase::read(&words.join(" "));
    }

    #[test]
    fn no_bytes_are_a_claim_that_holds(bytes in prop::collection::vec(any::<u8>(), 90..100)) {
        if let Some(claim) = Claim::decode(&bytes) {
            prop_assert!(!claim.holds(&log(), key(1).id(), key(0).id(), &[0; 32]));
        }
    }
}

#[test]
fn patterns_mean_what_they_say() {
    let parse = |text: &str| text.parse::<Interfaces>();
    for wrong in [
        "",
        "hyper",
        "hyper:",
        "hyper:screen",
        "hyper:screen*",
        "hyper:*",
        "*x",
        "a:b/c/d",
        "A:b/c",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    let package = parse("hyper:screen/*").unwrap();
    assert!(package.contain("hyper:screen/view@1.0.0"));
    assert!(!package.contain("hyper:screens/view"));
    assert!(!package.contain("hyper:screen/"));
    let one = parse("hyper:screen/view@1.0.0").unwrap();
    assert_eq!(one.as_str(), "hyper:screen/view");
    assert!(one.contain("hyper:screen/view@2.3.4"));
    assert!(!one.contain("hyper:screen/viewer"));
}

#[test]
fn weak_and_twice_named_keys_are_no_devices() {
    // The neutral element, and a point of order 8: anybody could sign for them.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert!(DeviceId::from_bytes(&neutral).is_err());
    assert!(DeviceId::from_bytes(&[0; 32]).is_err());
    // y = 2^255 - 19 + 3, another name of y = 3.
    let mut other_name = [0xff; 32];
    other_name[0] = 0xed + 3;
    other_name[31] = 0x7f;
    assert!(DeviceId::from_bytes(&other_name).is_err());
}

#[test]
fn a_phrase_with_a_mistake_says_where() {
    assert_eq!(Phrase::read("abandon"), Err(PhraseError::Count(1)));
    let mut words = ["abandon"; WORDS];
    words[11] = "about";
    // The first vector of BIP-39: the key is this for good.
    let phrase = Phrase::read(&words.join(" ")).unwrap();
    assert_eq!(phrase.key().id().to_string(), PAPER_KEY_OF_THE_FIRST_VECTOR);
    words[11] = "abandon";
    assert_eq!(Phrase::read(&words.join(" ")), Err(PhraseError::Checksum));
    words[4] = "abacus";
    assert_eq!(Phrase::read(&words.join(" ")), Err(PhraseError::Word(5)));
}

/// Computed apart, with hashlib and OpenSSL.
const PAPER_KEY_OF_THE_FIRST_VECTOR: &str =
    "0859332e2836bcc56280e9e29a894e0c8c85c9b61ffacedc2cb55de943c3497d";

#[test]
fn a_claim_is_bound_to_both_devices_and_the_connection() {
    let phrase = Phrase::generate().unwrap();
    let log = Log::found(&key(0), "Phone", Some(phrase.key().id()), 1).unwrap();
    let (new, tv, exporter) = (key(5).id(), key(6).id(), [7; 32]);
    let claim = Claim::new(&phrase.key(), new, tv, &exporter);
    let claim = Claim::decode(&claim.encode()).unwrap();
    assert!(claim.holds(&log, new, tv, &exporter));
    assert!(!claim.holds(&log, key(4).id(), tv, &exporter));
    assert!(!claim.holds(&log, new, key(4).id(), &exporter));
    assert!(!claim.holds(&log, new, tv, &[8; 32]));
    let stranger = Identity::generate().unwrap();
    assert!(!Claim::new(&stranger, new, tv, &exporter).holds(&log, new, tv, &exporter));
    let other = Log::found(&key(0), "Phone", None, 1).unwrap();
    assert!(!claim.holds(&other, new, tv, &exporter));
}

#[test]
fn a_greeting_is_bound_as_a_claim_is_and_only_who_knows_the_key_makes_one() {
    let (phrase, other) = (Phrase::generate().unwrap(), Phrase::generate().unwrap());
    let paper = phrase.key().id();
    let mut log = Log::found(&key(0), "Phone", Some(paper), 1).unwrap();
    let (new, tv, exporter) = (key(5).id(), key(6).id(), [7; 32]);
    let greeted = greetings(&log, tv, new, &exporter);
    assert_eq!(greeted.len(), 1);
    assert!(is_greeted(paper, &greeted, new, tv, &exporter));
    assert!(!is_greeted(paper, &greeted, key(4).id(), tv, &exporter));
    assert!(!is_greeted(paper, &greeted, new, key(4).id(), &exporter));
    assert!(!is_greeted(paper, &greeted, tv, new, &exporter));
    assert!(!is_greeted(paper, &greeted, new, tv, &[8; 32]));
    assert!(!is_greeted(other.key().id(), &greeted, new, tv, &exporter));

    // The words of the first entry stay good beside those that an owner device has set.
    let set = Action::PaperKeySet {
        key: other.key().id(),
    };
    log.write(&key(0), set, 2).unwrap();
    let greeted = greetings(&log, tv, new, &exporter);
    for phrase in [&phrase, &other] {
        assert!(is_greeted(phrase.key().id(), &greeted, new, tv, &exporter));
    }
    let none = Log::found(&key(0), "Phone", None, 1).unwrap();
    assert!(greetings(&none, tv, new, &exporter).is_empty());
    assert!(!is_greeted(paper, &[], new, tv, &exporter));
    // What is made up beyond the most that is looked at costs nothing.
    let many = vec![[0; 32]; 10_000];
    assert!(!is_greeted(paper, &many, new, tv, &exporter));
}
