//! Every target takes its seeds, and thousands of inputs that differ from them a little.

use std::{fs, path::Path};

use fuzz::{TARGETS, Target};

/// Changed copies of each seed.
const CHANGED: u64 = 400;

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target.name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// xorshift64*: the same inputs each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

fn change(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(5) {
            0 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.insert(at, dice.below(256) as u8),
            3 => bytes.truncate(at),
            _ => {
                let end = (at + dice.below(16)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

#[test]
fn every_target_takes_its_seeds_and_what_is_like_them() {
    for target in TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        let mut dice = Dice(20_260_101);
        for seed in &seeds {
            (target.run)(seed);
            for _ in 0..CHANGED {
                (target.run)(&change(seed, &mut dice));
            }
        }
    }
}

#[test]
#[should_panic(expected = "planted")]
fn the_mistake_on_purpose_is_one() {
    (fuzz::PLANTED.run)(b"coverage");
}
