//! How a release spreads over the devices: each works out for itself whether its turn has come, so
//! that no server has to know of any.
//!
//! A device's place in a release is a number from 0 up to 1 that comes from hashing its own seed,
//! which it keeps for itself, with the release's name. A wave says for moments which share of all
//! devices may have the release by then, and grows evenly in between. A device whose place lies
//! below the share has its turn. The place differs from release to release, so that nobody is always
//! first.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// All devices, as shares are counted.
pub const ALL: u32 = 1_000_000;

/// A moment of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Seconds since 1970.
    pub time: u64,
    /// How many of [`ALL`] devices may have the release by then.
    pub share: u32,
}

/// The moments of a wave in rising order. None at all lets everyone in at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wave(pub Vec<Step>);

impl Wave {
    /// How many of [`ALL`] devices may have the release at a time.
    #[must_use]
    pub fn share(&self, now: u64) -> u32 {
        let Some(first) = self.0.first() else {
            return ALL;
        };
        if now < first.time {
            return 0;
        }
        let after = self.0.iter().position(|step| step.time > now);
        match after {
            None => self.0[self.0.len() - 1].share.min(ALL),
            Some(after) => {
                let (from, to) = (self.0[after - 1], self.0[after]);
                let (low, high) = (u64::from(from.share.min(ALL)), u64::from(to.share.min(ALL)));
                let grown = high.saturating_sub(low) * (now - from.time) / (to.time - from.time);
                u32::try_from(low + grown).unwrap_or(ALL)
            }
        }
    }

    /// Whether a device has its turn at a time.
    #[must_use]
    pub fn reaches(&self, seed: &[u8], release: &str, now: u64) -> bool {
        place(seed, release) < u64::from(self.share(now)) * (1 << 40) / u64::from(ALL)
    }
}

/// A device's place in a release, of 2^40.
fn place(seed: &[u8], release: &str) -> u64 {
    let hash = Sha256::new_with_prefix(b"HyperOS wave\0")
        .chain_update(seed)
        .chain_update(b"\0")
        .chain_update(release)
        .finalize();
    hash[..5]
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave() -> Wave {
        Wave(vec![
            Step {
                time: 1000,
                share: 10_000,
            },
            Step {
                time: 2000,
                share: 500_000,
            },
            Step {
                time: 3000,
                share: ALL,
            },
        ])
    }

    #[test]
    fn a_share_grows_evenly_between_moments() {
        let wave = wave();
        assert_eq!(wave.share(999), 0);
        assert_eq!(wave.share(1000), 10_000);
        assert_eq!(wave.share(1500), 255_000);
        assert_eq!(wave.share(2500), 750_000);
        assert_eq!(wave.share(u64::MAX), ALL);
        assert_eq!(Wave::default().share(0), ALL);
    }

    #[test]
    fn a_wave_that_goes_back_lets_nobody_new_in() {
        let wave = Wave(vec![
            Step {
                time: 0,
                share: 500,
            },
            Step {
                time: 10,
                share: 100,
            },
        ]);
        assert_eq!(wave.share(5), 500);
    }

    #[test]
    fn the_share_of_devices_follows_the_wave() {
        let wave = wave();
        for now in [1000, 1500, 2000, 2500, 3000] {
            let devices = 200_000_u32;
            let reached = (0..devices)
                .filter(|device| wave.reaches(&device.to_le_bytes(), "phone 1.0.0", now))
                .count() as f64;
            let share = reached / f64::from(devices);
            let meant = f64::from(wave.share(now)) / f64::from(ALL);
            // Six standard deviations of so many draws.
            assert!(
                (share - meant).abs() < 0.007,
                "{share} for {meant} at {now}"
            );
        }
    }

    #[test]
    fn who_is_in_stays_in_and_who_is_first_differs() {
        let wave = wave();
        let mut early = [0; 2];
        for device in 0..2000_u32 {
            let seed = device.to_le_bytes();
            let mut before = false;
            for now in (900..3100).step_by(100) {
                let reached = wave.reaches(&seed, "phone 1.0.0", now);
                assert!(reached || !before);
                before = reached;
            }
            let first = wave.reaches(&seed, "phone 1.0.0", 1000);
            let second = wave.reaches(&seed, "phone 1.1.0", 1000);
            early[0] += u32::from(first || second);
            early[1] += u32::from(first && second);
        }
        assert!(early[0] > 10 && early[1] < early[0] / 4, "{early:?}");
    }
}
