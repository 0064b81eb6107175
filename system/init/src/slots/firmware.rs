//! Which slot the firmware starts: our two entries among its own, `BootOrder` and `BootNext`.
//!
//! | variable | what it is to us |
//! |---|---|
//! | `Boot####` | an entry for each slot, made when it is missing |
//! | `BootOrder` | the slot that is kept stands first; changed by [`Firmware::keep`] and nothing else, once the entries stand in it |
//! | `BootNext` | the slot that is tried: the firmware takes it out before it starts it, so that it is tried once |

use anyhow::{Context as _, Result};

use super::Slot;
use super::load_option::{self, Partition};
use super::variables::{Variables, boot_name, numbers, value};

/// The firmware, as far as it decides between the slots.
#[derive(Clone, Debug)]
pub struct Firmware {
    variables: Variables,
    a: Partition,
    b: Partition,
}

impl Firmware {
    /// With the boot partitions of both slots.
    pub fn new(variables: Variables, a: Partition, b: Partition) -> Self {
        Self { variables, a, b }
    }

    fn partition(&self, slot: Slot) -> &Partition {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// Makes the entries that are missing, and puts both before everything else in `BootOrder`
    /// unless they stand in it: the slot that runs first.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub fn prepare(&self, running: Slot) -> Result<()> {
        for slot in [running, running.other()] {
            if self.entry(slot)?.is_none() {
                let taken = self.variables.boot_numbers()?;
                let free = (0..=u16::MAX)
                    .find(|number| !taken.contains(number))
                    .context("the firmware has no room for another boot entry")?;
                let option = load_option::encode(&format!("HyperOS {slot}"), self.partition(slot));
                self.variables.write(&boot_name(free), &option)?;
            }
        }
        if self.first()?.is_none() {
            self.keep(running)?;
        }
        Ok(())
    }

    /// The slot that the firmware starts when nobody says otherwise.
    ///
    /// # Errors
    /// When the firmware does not say.
    pub fn first(&self) -> Result<Option<Slot>> {
        let (a, b) = (self.entry(Slot::A)?, self.entry(Slot::B)?);
        Ok(self.order()?.into_iter().find_map(|number| {
            if Some(number) == a {
                Some(Slot::A)
            } else if Some(number) == b {
                Some(Slot::B)
            } else {
                None
            }
        }))
    }

    /// Has the firmware start a slot the next time, and that time only.
    ///
    /// # Errors
    /// When it has no entry for the slot, or refuses.
    pub fn try_next(&self, slot: Slot) -> Result<()> {
        let entry = self
            .entry(slot)?
            .with_context(|| format!("the firmware has no entry for slot {slot}"))?;
        self.variables.write("BootNext", &value(&[entry]))
    }

    /// Takes that back.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub fn forget_next(&self) -> Result<()> {
        self.variables.remove("BootNext")
    }

    /// Has the firmware start a slot from now on, the other one if that cannot be started, and
    /// what it started before if neither can.
    ///
    /// # Errors
    /// When it has no entry for the slot, or refuses; the order is then as it was.
    pub fn keep(&self, slot: Slot) -> Result<()> {
        let entry = self
            .entry(slot)?
            .with_context(|| format!("the firmware has no entry for slot {slot}"))?;
        let ours: Vec<u16> = [Some(entry), self.entry(slot.other())?]
            .into_iter()
            .flatten()
            .collect();
        let rest = self.order()?;
        let rest = rest.into_iter().filter(|number| !ours.contains(number));
        let order: Vec<u16> = ours.iter().copied().chain(rest).collect();
        self.variables.write("BootOrder", &value(&order))
    }

    fn order(&self) -> Result<Vec<u16>> {
        Ok(numbers(
            &self.variables.read("BootOrder")?.unwrap_or_default(),
        ))
    }

    /// The number of our entry for a slot.
    fn entry(&self, slot: Slot) -> Result<Option<u16>> {
        let identifier = self.partition(slot).identifier;
        for number in self.variables.boot_numbers()? {
            let option = self.variables.read(&boot_name(number))?.unwrap_or_default();
            if load_option::partition_of(&option) == Some(identifier) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32) -> Partition {
        Partition {
            number,
            start: u64::from(number) * 2048,
            length: 2048,
            identifier: [number as u8; 16],
        }
    }

    fn firmware() -> (tempfile::TempDir, Variables, Firmware) {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::new(folder.path());
        // What a firmware makes for itself.
        variables.write("Boot0000", &[1, 0, 0, 0]).unwrap();
        variables.write("Boot0001", &[1, 0, 0, 0]).unwrap();
        variables.write("BootOrder", &value(&[1, 0])).unwrap();
        let firmware = Firmware::new(variables.clone(), partition(1), partition(2));
        (folder, variables, firmware)
    }

    fn order(variables: &Variables) -> Vec<u16> {
        numbers(&variables.read("BootOrder").unwrap().unwrap())
    }

    #[test]
    fn entries_are_made_once_and_stand_before_those_of_the_firmware() {
        let (_folder, variables, firmware) = firmware();
        assert_eq!(firmware.first().unwrap(), None);
        firmware.prepare(Slot::A).unwrap();
        assert_eq!(order(&variables), [2, 3, 1, 0]);
        assert_eq!(firmware.first().unwrap(), Some(Slot::A));
        // In a trial of the other slot nothing changes.
        firmware.prepare(Slot::B).unwrap();
        assert_eq!(order(&variables), [2, 3, 1, 0]);
    }

    #[test]
    fn an_entry_that_the_firmware_forgot_is_made_again() {
        let (_folder, variables, firmware) = firmware();
        firmware.prepare(Slot::A).unwrap();
        firmware.keep(Slot::B).unwrap();
        assert_eq!(order(&variables), [3, 2, 1, 0]);
        variables.remove("Boot0002").unwrap();
        firmware.prepare(Slot::B).unwrap();
        assert_eq!(firmware.first().unwrap(), Some(Slot::B));
        firmware.try_next(Slot::A).unwrap();
    }

    #[test]
    fn a_slot_is_tried_without_changing_what_is_started_by_default() {
        let (_folder, variables, firmware) = firmware();
        firmware.try_next(Slot::B).unwrap_err();
        firmware.prepare(Slot::A).unwrap();
        firmware.try_next(Slot::B).unwrap();
        assert_eq!(numbers(&variables.read("BootNext").unwrap().unwrap()), [3]);
        assert_eq!(firmware.first().unwrap(), Some(Slot::A));
        firmware.forget_next().unwrap();
        assert_eq!(variables.read("BootNext").unwrap(), None);
    }
}
