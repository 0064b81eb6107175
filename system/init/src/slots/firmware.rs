//! Which slot the firmware starts, and when recovery: our entries among its own, `BootOrder` and
//! `BootNext`.
//!
//! | variable | what it is to us |
//! |---|---|
//! | `Boot####` | an entry for each slot, and one for the recovery on its boot partition; made when they are missing |
//! | `BootOrder` | the slot that is kept stands first; changed by [`Firmware::keep`] and, where a root cannot be opened, by [`give_way`], and by nothing else, once the entries stand in it |
//! | `BootNext` | the slot that is tried: the firmware takes it out before it starts it, so that it is tried once |

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Slot;
use super::load_option::{self, Partition};
use super::variables::{self, Variables, boot_name, numbers, value};

/// What the descriptions of our entries begin with.
const NAME: &str = "HyperOS";

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

    /// Where its variables are.
    pub fn folder(&self) -> &Path {
        self.variables.folder()
    }

    fn partition(&self, slot: Slot) -> &Partition {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }

    /// Makes the entries that are missing, and puts the slots before everything else in `BootOrder`
    /// unless they stand in it: the slot that runs first. The recoveries stand behind the slots.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub fn prepare(&self, running: Slot) -> Result<()> {
        let slots = [running, running.other()];
        for file in [load_option::FILE, load_option::RECOVERY] {
            for slot in slots {
                if self.number_of(slot, file)?.is_none() {
                    self.add(slot, file)?;
                }
            }
        }
        if self.first()?.is_none() {
            return self.keep(running);
        }
        // Of a device that was installed before there was a recovery.
        let mut order = self.order()?;
        let mut missing = Vec::new();
        let mut last = 0;
        for slot in slots {
            let (slot, recovery) = (self.entry(slot)?, self.recovery(slot)?);
            let place = order.iter().position(|&number| Some(number) == slot);
            last = last.max(place.map_or(0, |place| place + 1));
            missing.extend(recovery.filter(|number| !order.contains(number)));
        }
        if missing.is_empty() {
            return Ok(());
        }
        order.splice(last..last, missing);
        self.variables.write("BootOrder", &value(&order))
    }

    fn add(&self, slot: Slot, file: &str) -> Result<()> {
        let taken = self.variables.boot_numbers()?;
        let free = (0..=u16::MAX)
            .find(|number| !taken.contains(number))
            .context("the firmware has no room for another boot entry")?;
        let name = match file {
            load_option::RECOVERY => format!("{NAME} recovery {slot}"),
            _ => format!("{NAME} {slot}"),
        };
        let option = load_option::encode(&name, self.partition(slot), file);
        self.variables.write(&boot_name(free), &option)
    }

    /// The slot whose boot partition has the recovery that runs; none where the firmware started
    /// something else.
    ///
    /// # Errors
    /// When the firmware does not say.
    pub fn recovery_that_runs(&self) -> Result<Option<Slot>> {
        let current = self.variables.read("BootCurrent")?.unwrap_or_default();
        let current = numbers(&current).first().copied();
        for slot in [Slot::A, Slot::B] {
            if current.is_some() && self.recovery(slot)? == current {
                return Ok(Some(slot));
            }
        }
        Ok(None)
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

    /// Whether a slot could not be started, and has given way to recovery.
    ///
    /// # Errors
    /// When the firmware does not say.
    pub fn gave_way(&self, slot: Slot) -> Result<bool> {
        let order = self.order()?;
        let place = |entry: Option<u16>| order.iter().position(|&number| Some(number) == entry);
        let slot_place = place(self.entry(slot)?);
        let recoveries = [self.recovery(Slot::A)?, self.recovery(Slot::B)?];
        Ok(recoveries
            .into_iter()
            .filter_map(place)
            .any(|recovery| slot_place.is_some_and(|slot| slot > recovery)))
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

    /// Has the firmware start a slot from now on, the other one if that cannot be started, recovery if
    /// neither can, and behind all of these what it started before.
    ///
    /// # Errors
    /// When it has no entry for the slot, or refuses; the order is then as it was.
    pub fn keep(&self, slot: Slot) -> Result<()> {
        let entry = self
            .entry(slot)?
            .with_context(|| format!("the firmware has no entry for slot {slot}"))?;
        let ours: Vec<u16> = [
            Some(entry),
            self.entry(slot.other())?,
            self.recovery(slot)?,
            self.recovery(slot.other())?,
        ]
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
        self.number_of(slot, load_option::FILE)
    }

    /// The number of our entry for the recovery of a slot's boot partition.
    fn recovery(&self, slot: Slot) -> Result<Option<u16>> {
        self.number_of(slot, load_option::RECOVERY)
    }

    fn number_of(&self, slot: Slot, file: &str) -> Result<Option<u16>> {
        let identifier = self.partition(slot).identifier;
        for number in self.variables.boot_numbers()? {
            let option = self.variables.read(&boot_name(number))?.unwrap_or_default();
            if load_option::partition_of(&option, file) == Some(identifier) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

/// Has the firmware start what it started now only when nothing else of ours can be started: its root
/// cannot be opened. False where there is nothing else, or where the firmware did not start an entry of
/// ours.
///
/// What is remembered of a failed start is thus the order itself: the other slot comes next, and when
/// that fails too, what stands behind both.
///
/// # Errors
/// When the firmware refuses.
pub fn give_way() -> Result<bool> {
    if !Path::new("/sys/firmware/efi").is_dir() {
        return Ok(false);
    }
    put_last(&variables::mounted()?)
}

fn put_last(variables: &Variables) -> Result<bool> {
    let list = |name: &str| -> Result<Vec<u16>> {
        Ok(numbers(&variables.read(name)?.unwrap_or_default()))
    };
    let is_ours = |number: u16| -> Result<bool> {
        let option = variables.read(&boot_name(number))?.unwrap_or_default();
        let description = load_option::description(&option);
        Ok(description.is_some_and(|text| text.starts_with(NAME)))
    };
    let Some(&current) = list("BootCurrent")?.first() else {
        return Ok(false);
    };
    if !is_ours(current)? {
        return Ok(false);
    }
    let mut order = list("BootOrder")?;
    order.retain(|&number| number != current);
    let mut last = None;
    for (place, &number) in order.iter().enumerate() {
        if is_ours(number)? {
            last = Some(place);
        }
    }
    let Some(last) = last else {
        return Ok(false);
    };
    order.insert(last + 1, current);
    variables.write("BootOrder", &value(&order))?;
    Ok(true)
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
        assert_eq!(order(&variables), [2, 3, 4, 5, 1, 0]);
        assert_eq!(firmware.first().unwrap(), Some(Slot::A));
        // In a trial of the other slot nothing changes.
        firmware.prepare(Slot::B).unwrap();
        assert_eq!(order(&variables), [2, 3, 4, 5, 1, 0]);
    }

    #[test]
    fn an_entry_that_the_firmware_forgot_is_made_again() {
        let (_folder, variables, firmware) = firmware();
        firmware.prepare(Slot::A).unwrap();
        firmware.keep(Slot::B).unwrap();
        assert_eq!(order(&variables), [3, 2, 5, 4, 1, 0]);
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

    #[test]
    fn what_cannot_be_started_gives_way_to_what_else_there_is() {
        let (_folder, variables, firmware) = firmware();
        let start = |number: u16| {
            variables.write("BootCurrent", &value(&[number])).unwrap();
            put_last(&variables).unwrap()
        };
        // Nobody says what was started, or it was an entry of the firmware's own.
        assert!(!put_last(&variables).unwrap());
        assert!(!start(1));
        firmware.prepare(Slot::A).unwrap();
        assert!(!start(1));
        assert_eq!(order(&variables), [2, 3, 4, 5, 1, 0]);
        assert!(start(2));
        assert_eq!(order(&variables), [3, 4, 5, 2, 1, 0]);
        assert!(firmware.gave_way(Slot::A).unwrap() && !firmware.gave_way(Slot::B).unwrap());
        assert_eq!(firmware.first().unwrap(), Some(Slot::B));
        // The other one too: recovery is next.
        assert!(start(3));
        assert_eq!(order(&variables), [4, 5, 2, 3, 1, 0]);
        variables.write("BootCurrent", &value(&[4])).unwrap();
        assert_eq!(firmware.recovery_that_runs().unwrap(), Some(Slot::A));
        // What it installed is started from then on.
        firmware.keep(Slot::B).unwrap();
        assert_eq!(order(&variables), [3, 2, 5, 4, 1, 0]);
        assert!(!firmware.gave_way(Slot::A).unwrap());
        // One on trial was not the first, and the first stays.
        assert!(start(2));
        assert_eq!(order(&variables), [3, 5, 4, 2, 1, 0]);
        assert_eq!(firmware.recovery_that_runs().unwrap(), None);
        // There is nothing else of ours.
        for name in ["Boot0003", "Boot0004", "Boot0005"] {
            variables.remove(name).unwrap();
        }
        variables.remove("BootOrder").unwrap();
        variables.write("BootOrder", &value(&[2, 1, 0])).unwrap();
        assert!(!start(2));
        assert_eq!(order(&variables), [2, 1, 0]);
    }

    #[test]
    fn a_device_from_before_there_was_a_recovery_gets_its_entries() {
        let (_folder, variables, firmware) = firmware();
        firmware.prepare(Slot::A).unwrap();
        for name in ["Boot0004", "Boot0005"] {
            variables.remove(name).unwrap();
        }
        variables.remove("BootOrder").unwrap();
        variables.write("BootOrder", &value(&[3, 1, 2, 0])).unwrap();
        firmware.prepare(Slot::B).unwrap();
        // 4 is that of b now, which runs.
        assert_eq!(order(&variables), [3, 1, 2, 4, 5, 0]);
        firmware.prepare(Slot::B).unwrap();
        assert_eq!(order(&variables), [3, 1, 2, 4, 5, 0]);
    }
}
