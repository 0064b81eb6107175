//! How a device learns that it is lost.
//!
//! The log is for members, and a removed device gets nothing of it any more: so the removal itself is
//! shown to it, alone, by whichever member it meets. It can be believed without the entries that it names,
//! for what counts is who signed it.

use crate::{
    family::Family,
    identity::DeviceId,
    log::{Action, Entry, EntryError, Log, Role},
};

/// Why a device does not believe that it is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLost {
    /// It is no entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// It is of another family.
    #[error("it is an entry of another family")]
    Family,
    /// It does not say that this device is lost.
    #[error("it does not say that this device is lost")]
    Other,
    /// It is in the log here, which says that this device is a member all the same.
    #[error("it is known, and the device was taken in again since")]
    Known,
    /// Neither the one who signed it nor the one who shows it is the owner's.
    #[error("neither who signed it nor who shows it is an owner device here")]
    Author,
}

impl Log {
    /// The entry that says that a device is lost, for showing it to that device. None where it is a member,
    /// or left otherwise.
    pub fn loss_of(&self, device: DeviceId) -> Option<&Entry> {
        let family = self.family();
        if !family.removed(device)?.lost {
            return None;
        }
        let says = |entry: &&Entry| match entry.action() {
            Action::Removed {
                device: other,
                lost,
            } => *lost && *other == device,
            _ => false,
        };
        // The newest: an older one may be from before it was taken in again.
        self.entries().filter(says).last()
    }

    /// Takes an entry that says that this device is lost, as `shower` shows it, who has proven to be of the family.
    ///
    /// # Errors
    ///
    /// Fails when it is not to be believed.
    pub fn believe_loss(
        &self,
        own: DeviceId,
        bytes: &[u8],
        shower: DeviceId,
    ) -> Result<Entry, NotLost> {
        let entry = Entry::decode(bytes)?;
        if entry.family() != self.id() {
            return Err(NotLost::Family);
        }
        let family = self.family();
        let Action::Removed { device, lost: true } = entry.action() else {
            return Err(NotLost::Other);
        };
        if *device != own && family.current_key(*device) != Some(own) {
            return Err(NotLost::Other);
        }
        if family.role(own).is_some() && self.entry(entry.id()).is_some() {
            return Err(NotLost::Known);
        }
        let is_owners = is_owner_device(&family, entry.author())
            || family.is_paper(entry.author())
            || is_owner_device(&family, shower);
        if !is_owners {
            return Err(NotLost::Author);
        }
        Ok(entry)
    }
}

fn is_owner_device(family: &Family, key: DeviceId) -> bool {
    let key = family.current_key(key).unwrap_or(key);
    family.role(key) == Some(Role::Owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    struct Home {
        phone: Identity,
        tablet: Identity,
        tv: Identity,
        log: Log,
    }

    fn home() -> Home {
        let [phone, tablet, tv] = [(); 3].map(|()| Identity::generate().unwrap());
        let mut log = Log::found(&phone, "Phone", None, 1).unwrap();
        for (device, role) in [(&tablet, Role::Owner), (&tv, Role::Shared)] {
            add(&mut log, &phone, device, role);
        }
        Home {
            phone,
            tablet,
            tv,
            log,
        }
    }

    fn add(log: &mut Log, by: &Identity, device: &Identity, role: Role) {
        let name = format!("{role:?} {}", device.id().short());
        let device = device.id();
        let added = Action::Added { device, role, name };
        log.write(by, added, 2).unwrap();
    }

    fn lost(log: &mut Log, by: &Identity, device: &Identity) -> Entry {
        log.remove(by, device.id(), true, 3).unwrap();
        log.loss_of(device.id()).unwrap().clone()
    }

    #[test]
    fn a_device_believes_the_owner_whoever_shows_it() {
        let home = home();
        let mut there = home.log.clone();
        // What the lost device has not seen does not matter.
        add(
            &mut there,
            &home.phone,
            &Identity::generate().unwrap(),
            Role::Guest,
        );
        let entry = lost(&mut there, &home.phone, &home.tablet);
        let own = home.tablet.id();
        for shower in [home.phone.id(), home.tv.id()] {
            let believed = home.log.believe_loss(own, entry.bytes(), shower).unwrap();
            assert_eq!((believed.author(), believed.time()), (home.phone.id(), 3));
        }
    }

    #[test]
    fn nobody_else_locks_a_device() {
        let home = home();
        let own = home.tablet.id();
        let stranger = Identity::generate().unwrap();
        let shown = |entry: &Entry, shower: &Identity| {
            let shown = home.log.believe_loss(own, entry.bytes(), shower.id());
            shown.map(|entry| entry.id())
        };

        // Signed by a device that this one does not know as the owner's, and shown by a television.
        let mut there = home.log.clone();
        add(&mut there, &home.phone, &stranger, Role::Owner);
        let entry = lost(&mut there, &stranger, &home.tablet);
        assert_eq!(shown(&entry, &home.tv), Err(NotLost::Author));
        assert_eq!(
            shown(&entry, &home.phone),
            Ok(entry.id()),
            "the owner's word"
        );

        // Of another family, in which both have these keys.
        let mut other = Log::found(&home.phone, "Phone", None, 1).unwrap();
        add(&mut other, &home.phone, &home.tablet, Role::Owner);
        let entry = lost(&mut other, &home.phone, &home.tablet);
        assert_eq!(shown(&entry, &home.phone), Err(NotLost::Family));

        // Another device is lost; this one left without being lost; or it is something else.
        let mut there = home.log.clone();
        let entry = lost(&mut there, &home.phone, &home.tv);
        assert_eq!(shown(&entry, &home.phone), Err(NotLost::Other));
        there.remove(&home.phone, own, false, 3).unwrap();
        assert_eq!(there.loss_of(own), None);
        for entry in there.entries() {
            assert!(shown(entry, &home.phone).is_err());
        }

        // Changed on the way.
        let mut there = home.log.clone();
        let entry = lost(&mut there, &home.phone, &home.tablet);
        for at in 0..entry.bytes().len() {
            let mut bytes = entry.bytes().to_vec();
            bytes[at] ^= 1;
            assert!(home.log.believe_loss(own, &bytes, home.phone.id()).is_err());
        }
    }

    #[test]
    fn a_device_that_was_taken_back_is_not_locked_by_what_was_before() {
        let mut home = home();
        let own = home.tablet.id();
        let entry = lost(&mut home.log, &home.phone, &home.tablet);
        add(&mut home.log, &home.phone, &home.tablet, Role::Owner);
        assert_eq!(home.log.loss_of(own), None);
        let shown = home.log.believe_loss(own, entry.bytes(), home.phone.id());
        assert_eq!(shown, Err(NotLost::Known));

        let mut there = home.log.clone();
        let again = lost(&mut there, &home.phone, &home.tablet);
        assert_ne!(again.id(), entry.id());
        let shown = home.log.believe_loss(own, again.bytes(), home.tv.id());
        assert_eq!(shown.unwrap().id(), again.id());
    }
}
