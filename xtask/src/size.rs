//! Sizes as people write them: `64 MiB`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// A number of bytes, written in configuration as `64 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Size {
    /// The size in whole mebibytes, as QEMU counts memory.
    #[must_use]
    pub fn mebibytes(self) -> u64 {
        self.0 >> 20
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error =
            || format!("{text:?} is not a size: write it like \"64 MiB\" (B, KiB, MiB, GiB)");
        let (number, unit) = text.trim().split_once(' ').ok_or_else(error)?;
        let factor = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim())
            .ok_or_else(error)?
            .1;
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(error)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor)
            .unwrap_or(("B", 1));
        if self.0.is_multiple_of(factor) {
            write!(formatter, "{} {unit}", self.0 / factor)
        } else {
            write!(formatter, "{:.1} {unit}", self.0 as f64 / factor as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_they_are_written() {
        for text in ["1 B", "512 KiB", "64 MiB", "2 GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!(Size(1_572_864).to_string(), "1.5 MiB");
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["64", "64 MB", "MiB", "-1 MiB", "99999999999999 GiB"] {
            assert!(
                text.parse::<Size>().unwrap_err().contains("64 MiB"),
                "{text}"
            );
        }
    }
}
