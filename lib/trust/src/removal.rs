//! How a device learns that it was removed.
//!
//! The log is for members, and a removed device gets nothing of it any more: so the removal itself is
//! shown to it, alone, by whichever member it meets. It can be believed without the entries that it names,
//! for what counts is who signed it.

use crate::{
    family::Family,
    identity::DeviceId,
    log::{Entry, EntryError, Log, Role},
};

/// Why a device does not believe that it was removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRemoved {
    /// It is no entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// It is of another family.
    #[error("it is an entry of another family")]
    Family,
    /// It does not say that this device was removed.
    #[error("it does not say that this device was removed")]
    Other,
    /// It is in the log here, which says that this device is a member all the same.
    #[error("it is known, and the device was taken in again since")]
    Known,
    /// Neither the one who signed it nor the one who shows it is the owner's.
    #[error("neither who signed it nor who shows it is an owner device here")]
    Author,
}

impl Log {
    /// The entry that says that a device was removed, for showing it to that device: the one that says that it
    /// is lost, where one does. None where it is a member, or never was.
    pub fn removal_of(&self, device: DeviceId) -> Option<&Entry> {
        self.entry(self.family().removed(device)?.entry)
    }

    /// Takes an entry that says that this device was removed, as `shower` shows it, who has proven to be of the
    /// family.
    ///
    /// # Errors
    ///
    /// Fails when it is not to be believed.
    pub fn believe_removal(
        &self,
        own: DeviceId,
        bytes: &[u8],
        shower: DeviceId,
    ) -> Result<Entry, NotRemoved> {
        let entry = Entry::decode(bytes)?;
        if entry.family() != self.id() {
            return Err(NotRemoved::Family);
        }
        let family = self.family();
        let Some((device, _)) = entry.removes() else {
            return Err(NotRemoved::Other);
        };
        if device != own && family.current_key(device) != Some(own) {
            return Err(NotRemoved::Other);
        }
        if family.role(own).is_some() && self.entry(entry.id()).is_some() {
            return Err(NotRemoved::Known);
        }
        let is_owners = is_owner_device(&family, entry.author())
            || family.is_paper(entry.author())
            || is_owner_device(&family, shower);
        if !is_owners {
            return Err(NotRemoved::Author);
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
    use crate::{identity::Identity, log::Action};

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

    fn removed(log: &mut Log, by: &Identity, device: &Identity, lost: bool) -> Entry {
        log.remove(by, device.id(), lost, 3).unwrap();
        let entry = log.removal_of(device.id()).unwrap();
        assert_eq!(entry.removes(), Some((device.id(), lost)));
        entry.clone()
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
        let own = home.tablet.id();
        for lost in [false, true] {
            let mut there = there.clone();
            let entry = removed(&mut there, &home.phone, &home.tablet, lost);
            for shower in [home.phone.id(), home.tv.id()] {
                let believed = home.log.believe_removal(own, entry.bytes(), shower);
                let believed = believed.unwrap();
                assert_eq!((believed.author(), believed.time()), (home.phone.id(), 3));
            }
        }
    }

    #[test]
    fn nobody_else_removes_a_device() {
        let home = home();
        let own = home.tablet.id();
        let stranger = Identity::generate().unwrap();
        let shown = |entry: &Entry, shower: &Identity| {
            let shown = home.log.believe_removal(own, entry.bytes(), shower.id());
            shown.map(|entry| entry.id())
        };

        // Signed by a device that this one does not know as the owner's, and shown by a television.
        let mut there = home.log.clone();
        add(&mut there, &home.phone, &stranger, Role::Owner);
        let entry = removed(&mut there, &stranger, &home.tablet, true);
        assert_eq!(shown(&entry, &home.tv), Err(NotRemoved::Author));
        assert_eq!(
            shown(&entry, &home.phone),
            Ok(entry.id()),
            "the owner's word"
        );

        // Of another family, in which both have these keys.
        let mut other = Log::found(&home.phone, "Phone", None, 1).unwrap();
        add(&mut other, &home.phone, &home.tablet, Role::Owner);
        let entry = removed(&mut other, &home.phone, &home.tablet, true);
        assert_eq!(shown(&entry, &home.phone), Err(NotRemoved::Family));

        // Another device was removed, or it is something else.
        let mut there = home.log.clone();
        let entry = removed(&mut there, &home.phone, &home.tv, true);
        assert_eq!(shown(&entry, &home.phone), Err(NotRemoved::Other));
        for entry in there.entries() {
            assert!(shown(entry, &home.phone).is_err());
        }

        // Changed on the way.
        let mut there = home.log.clone();
        let entry = removed(&mut there, &home.phone, &home.tablet, true);
        for at in 0..entry.bytes().len() {
            let mut bytes = entry.bytes().to_vec();
            bytes[at] ^= 1;
            assert!(
                home.log
                    .believe_removal(own, &bytes, home.phone.id())
                    .is_err()
            );
        }
    }

    #[test]
    fn a_device_that_was_taken_back_is_not_removed_by_what_was_before() {
        let mut home = home();
        let own = home.tablet.id();
        let entry = removed(&mut home.log, &home.phone, &home.tablet, true);
        add(&mut home.log, &home.phone, &home.tablet, Role::Owner);
        assert_eq!(home.log.removal_of(own), None);
        let shown = home
            .log
            .believe_removal(own, entry.bytes(), home.phone.id());
        assert_eq!(shown, Err(NotRemoved::Known));

        let mut there = home.log.clone();
        let again = removed(&mut there, &home.phone, &home.tablet, true);
        assert_ne!(again.id(), entry.id());
        let shown = home.log.believe_removal(own, again.bytes(), home.tv.id());
        assert_eq!(shown.unwrap().id(), again.id());

        // It was lost once, and is not now.
        let again = removed(&mut home.log, &home.phone, &home.tablet, false);
        assert!(!home.log.family().removed(own).unwrap().lost);
        assert_ne!(again.id(), entry.id());
    }

    #[test]
    fn of_two_who_remove_a_device_apart_the_one_who_says_that_it_is_lost_counts() {
        let mut home = home();
        let own = home.tv.id();
        let mut there = home.log.clone();
        let lost = removed(&mut there, &home.tablet, &home.tv, true);
        let only = removed(&mut home.log, &home.phone, &home.tv, false);
        home.log.insert(lost.bytes()).unwrap();
        assert!(home.log.entry(only.id()).is_some());
        assert_eq!(home.log.removal_of(own).unwrap().id(), lost.id());
    }
}
