//! The paper phrase: twelve words that can save a family whose owner devices are all lost.
//!
//! The words are those of BIP-39 (128 random bits and a checksum). The paper key is an Ed25519
//! key made of them: BIP-39's seed (PBKDF2-HMAC-SHA-512, 2048 rounds, no passphrase), then
//! HKDF-SHA-256 under a label of this system, so that the words serve nothing else by accident.
//! Only the public half is in the log; no device keeps the words.
//!
//! # Saving a family
//!
//! A new device that is in no family connects to any device that is, such as the TV. That one
//! [greets](greetings) it with a proof that it knows the paper key, so that a stranger who poses as
//! a device of the family is found out before it is told anything. The new device
//! [claims](Claim) with the words: a signature over both keys and the connection. It gets the log,
//! and [`recover`] writes into it what the words allow: the new device is added as an owner
//! device, those that are lost are removed, and the members get a new secret. The other devices
//! take these entries as any others, for the paper key is in their log.

use std::fmt;

use bip39::{Language, Mnemonic};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    identity::{DeviceId, Identity, RandomError, random},
    log::{Action, EntryId, Log, Role, WriteError},
};

/// How many words a phrase has.
pub const WORDS: usize = 12;

/// A text that is no paper phrase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Not twelve words.
    #[error("the phrase has {WORDS} words; these are {0}")]
    Count(usize),
    /// A word that is not in the list, counted from 1.
    #[error("word {0} is not one of the list; look at its spelling")]
    Word(usize),
    /// The words do not belong together.
    #[error("these words do not belong together: one is wrong, or two have changed places")]
    Checksum,
}

/// The twelve words.
#[derive(Clone, PartialEq, Eq)]
pub struct Phrase(Mnemonic);

impl fmt::Debug for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrase(…)")
    }
}

impl Phrase {
    /// Twelve random words.
    pub fn generate() -> Result<Self, RandomError> {
        let entropy = Zeroizing::new(random::<16>()?);
        let words = Mnemonic::from_entropy_in(Language::English, &*entropy);
        Ok(Self(words.expect("16 bytes make twelve words")))
    }

    /// Reads what a person typed: capitals, spaces and numbers between the words do not matter,
    /// and four letters of a word are enough, for no two words begin alike.
    pub fn read(text: &str) -> Result<Self, PhraseError> {
        let typed: Vec<String> = text
            .split(|c: char| !c.is_alphabetic())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        if typed.len() != WORDS {
            return Err(PhraseError::Count(typed.len()));
        }
        let mut words = Vec::with_capacity(WORDS);
        for (number, word) in typed.iter().enumerate() {
            let found = Language::English
                .word_list()
                .iter()
                .find(|listed| {
                    *listed == word || (word.chars().count() >= 4 && listed.starts_with(&**word))
                })
                .ok_or(PhraseError::Word(number + 1))?;
            words.push(*found);
        }
        let text = Zeroizing::new(words.join(" "));
        Mnemonic::parse_in_normalized(Language::English, &text)
            .map(Self)
            .map_err(|_| PhraseError::Checksum)
    }

    /// The words, for the person to write down.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0.words()
    }

    /// The paper key.
    pub fn key(&self) -> Identity {
        let seed = Zeroizing::new(self.0.to_seed_normalized(""));
        let mut secret = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &*seed)
            .expand(b"HyperOS paper key 1\0", &mut *secret)
            .expect("32 bytes are not too many");
        Identity::from_secret(&secret).expect("a hash is no weak key")
    }
}

/// The most proofs that a device greets with.
pub const MAX_GREETINGS: usize = 16;

/// What device `here` of the family proves to device `there`, which is in none, on their
/// connection: that it knows the public half of the paper key, which nobody knows but whoever is of
/// the family or was. One proof for each paper key that can save it. They say nothing to anybody
/// who does not know such a key.
pub fn greetings(log: &Log, here: DeviceId, there: DeviceId, exporter: &[u8; 32]) -> Vec<[u8; 32]> {
    let keys = log.paper_keys().into_iter().take(MAX_GREETINGS);
    keys.map(|paper| greeting(paper, there, here, exporter).finalize())
        .map(|proof| proof.into_bytes().into())
        .collect()
}

/// Whether device `there` has proven to device `here`, which has the words, that it knows their key.
pub fn is_greeted(
    paper: DeviceId,
    greetings: &[[u8; 32]],
    here: DeviceId,
    there: DeviceId,
    exporter: &[u8; 32],
) -> bool {
    let fits = |proof: &[u8; 32]| greeting(paper, here, there, exporter).verify_slice(proof);
    greetings
        .iter()
        .take(MAX_GREETINGS)
        .any(|proof| fits(proof).is_ok())
}

fn greeting(paper: DeviceId, new: DeviceId, member: DeviceId, exporter: &[u8; 32]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(paper.as_bytes()).expect("any length is a key");
    mac.update(b"HyperOS recovery greeting 1\0");
    mac.update(new.as_bytes());
    mac.update(member.as_bytes());
    mac.update(exporter);
    mac
}

/// Proof to a device of the family that whoever is at the other end has the words. It is asked
/// for before the log, which names all devices, goes to a device that is in no family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The paper key.
    pub paper: DeviceId,
    /// Its signature.
    pub signature: [u8; 64],
}

impl Claim {
    /// How many bytes are sent.
    pub const BYTES: usize = 96;

    /// The claim of device `here` on its connection to device `there` of the family.
    pub fn new(paper: &Identity, here: DeviceId, there: DeviceId, exporter: &[u8; 32]) -> Self {
        Self {
            paper: paper.id(),
            signature: paper.sign(&claim(here, there, exporter)),
        }
    }

    /// Whether the device at the other end (`there`) of this connection may have the log of this
    /// family.
    pub fn holds(&self, log: &Log, there: DeviceId, here: DeviceId, exporter: &[u8; 32]) -> bool {
        log.may_recover(self.paper)
            && self
                .paper
                .signed(&claim(there, here, exporter), &self.signature)
    }

    /// As it is sent.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(self.paper.as_bytes());
        bytes[32..].copy_from_slice(&self.signature);
        bytes
    }

    /// From what was sent.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (paper, signature) = bytes.split_first_chunk::<32>()?;
        Some(Self {
            paper: DeviceId::from_bytes(paper).ok()?,
            signature: signature.try_into().ok()?,
        })
    }
}

fn claim(new: DeviceId, member: DeviceId, exporter: &[u8; 32]) -> Vec<u8> {
    [
        b"HyperOS recovery claim 1\0",
        &new.as_bytes()[..],
        member.as_bytes(),
        exporter,
    ]
    .concat()
}

/// Why a family was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The words are not this family's.
    #[error("these words belong to another family, or were replaced by newer ones")]
    OtherFamily,
    /// A lost device set another paper key, and the removal has seen that.
    #[error("these words were replaced; if a lost device did that, say from when on it was lost")]
    Replaced,
    /// An entry was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Takes a new device into the family as an owner device, by the words, and removes those that
/// are lost. `seen` names the heads of the log from before they were lost, when somebody knows
/// them: whatever the lost devices wrote after is void. Without, everything that is in the log
/// until now stays.
pub fn recover(
    log: &mut Log,
    phrase: &Phrase,
    device: DeviceId,
    name: &str,
    lost: &[DeviceId],
    seen: Option<&[EntryId]>,
    time: u64,
) -> Result<(), RecoveryError> {
    let paper = phrase.key();
    if !log.may_recover(paper.id()) {
        return Err(RecoveryError::OtherFamily);
    }
    let mut recovered = log.clone();
    for &device in lost {
        let removal = Action::Removed { device, lost: true };
        match seen {
            Some(heads) => {
                recovered.write_on(&paper, heads.iter().copied().collect(), removal, time)?
            }
            None => recovered.write(&paper, removal, time)?,
        };
    }
    let added = Action::Added {
        device,
        role: Role::Owner,
        name: name.to_owned(),
    };
    recovered.write(&paper, added, time)?;
    recovered.renew_secret(&paper, time)?;
    // Written is not yet in force: somebody may have set another paper key.
    let family = recovered.family();
    if family.role(device) != Some(Role::Owner)
        || lost
            .iter()
            .any(|&device| family.current_key(device).is_some())
    {
        return Err(RecoveryError::Replaced);
    }
    *log = recovered;
    Ok(())
}
