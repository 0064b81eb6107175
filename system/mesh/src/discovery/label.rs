//! The names under which a device announces itself, which only its family can recognise.
//!
//! A label is a random nonce and a keyed hash of it and of the device's public key. Whoever has the
//! family's discovery key computes the hash for each member and sees who it is; to everybody else two
//! labels of one device are as unlike as those of two. No clock goes into it, for devices whose
//! clocks are years apart must find each other too.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A device's public key.
pub type DeviceKey = [u8; 32];

const NONCE: usize = 10;
const HASH: usize = 16;
/// A label is this many bytes, and twice as many characters.
pub const LENGTH: usize = NONCE + HASH;

/// What a family recognises its devices by. It changes when a device is removed.
#[derive(Clone, Eq, PartialEq)]
pub struct DiscoveryKey(pub [u8; 32]);

impl fmt::Debug for DiscoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiscoveryKey")
    }
}

/// The name of one announcement.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Label([u8; LENGTH]);

impl Label {
    /// A new one of a device, for those who have the key.
    pub fn of_member(key: &DiscoveryKey, device: &DeviceKey, nonce: [u8; NONCE]) -> Self {
        let mut label = [0; LENGTH];
        label[..NONCE].copy_from_slice(&nonce);
        label[NONCE..].copy_from_slice(&hash(key, device, &nonce));
        Self(label)
    }

    /// One that nobody recognises.
    pub fn random(random: [u8; LENGTH]) -> Self {
        Self(random)
    }

    /// Which of the devices announces itself under this label, by any of the keys.
    pub fn recognise<'a>(
        &self,
        keys: &[DiscoveryKey],
        devices: impl Iterator<Item = &'a DeviceKey> + Clone,
    ) -> Option<DeviceKey> {
        let (nonce, hashed) = self.0.split_at(NONCE);
        keys.iter().find_map(|key| {
            devices
                .clone()
                // Announcements can be heard by all: there is no secret to lose in comparing.
                .find(|device| hash(key, device, nonce) == *hashed)
                .copied()
        })
    }

    /// Reads the text of one.
    pub fn parse(text: &str) -> Option<Self> {
        from_hexadecimal(text).map(Self)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads two digits a byte.
pub fn from_hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks(2)) {
        let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(bytes)
}

fn hash(key: &DiscoveryKey, device: &DeviceKey, nonce: &[u8]) -> [u8; HASH] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
    mac.update(b"hyper discovery label 1");
    mac.update(nonce);
    mac.update(device);
    let mut hash = [0; HASH];
    hash.copy_from_slice(&mac.finalize().into_bytes()[..HASH]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_key_recognises_a_member() {
        let (ours, theirs) = (DiscoveryKey([1; 32]), DiscoveryKey([2; 32]));
        let (phone, tv) = ([3; 32], [4; 32]);
        let label = Label::of_member(&ours, &tv, [5; NONCE]);
        let members = [phone, tv];
        assert_eq!(
            label.recognise(&[theirs.clone(), ours.clone()], members.iter()),
            Some(tv),
            "by any of the keys"
        );
        assert_eq!(label.recognise(&[theirs], members.iter()), None);
        assert_eq!(
            label.recognise(&[ours], [phone].iter()),
            None,
            "a stranger who has the key is a stranger"
        );
    }

    #[test]
    fn two_labels_of_a_device_have_nothing_in_common() {
        let key = DiscoveryKey([1; 32]);
        let [one, two] =
            [[1; NONCE], [2; NONCE]].map(|nonce| Label::of_member(&key, &[3; 32], nonce).0);
        assert!(one.iter().zip(two).filter(|(a, b)| **a == *b).count() < 6);
    }

    #[test]
    fn a_label_is_read_as_it_is_written_and_nothing_else_is() {
        let label = Label::random(std::array::from_fn(|at| at as u8 * 9));
        assert_eq!(Label::parse(&label.to_string()), Some(label));
        for wrong in ["", "00", &"g".repeat(52), &"é".repeat(26), &"0".repeat(53)] {
            assert_eq!(Label::parse(wrong), None, "{wrong}");
        }
    }
}
