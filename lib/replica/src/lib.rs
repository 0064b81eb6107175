//! Replicated state: names, rooms, settings that follow the person.
//!
//! A [`Replica`] is this device's copy of one document. A document has one *audience* (the family,
//! the person, one device): copies that were changed apart and meet again become equal without
//! losing an edit. Who the audience is, and whose updates are taken, is for the caller to see to
//! (`system/state`); the signed log of `lib/trust`, not a document, is where authority stands.
//!
//! A document is a set of entries, a key and a [`Value`] each: `device/<id>/name`,
//! `setting/appearance.theme`. Where two devices changed different entries, both changes stay;
//! where they changed the same one, the later one stays, by a logical clock and not by anybody's
//! time, everywhere the same. What changes many times a minute, or must not be kept, such as the
//! clipboard or the position in a film, does not belong here.
//!
//! # What is promised
//!
//! 1. **Acknowledged means durable**, as in `lib/store`: [`Replica::change`] and
//!    [`Replica::receive`] answer when the change survives a power cut. When they fail, the copy
//!    is what it was. (What failed at the very last step, syncing, may be in the file until the next
//!    change; nobody was told of it.)
//! 2. **Copies meet.** Two copies that have given each other what the other was
//!    [missing](Replica::missing) have the same entries, in whatever order updates came, and
//!    however long one was away.
//! 3. **A peer cannot break a copy.** What comes from outside is a flat list of bounded items; it
//!    is checked, merged beside the document, and [refused](Refused) whole if the document would
//!    become too big. What a peer that may write can always do is write: nonsense, or deletions.
//! 4. **Old and new releases share a document.** See [`schema`]. Entries of versions that this
//!    release does not speak are kept and passed on.
//! 5. **It does not grow with its changes.** What was overwritten is gone; what was deleted leaves
//!    its key. The file is a journal that is written anew when most of it is old.
//!
//! # Sync
//!
//! Each side sends its [`version`](Replica::version) when they connect, and answers the other's
//! with what it is [missing](Replica::missing), if anything. After a change, the same with the
//! version that the other had last. That is all.
//!
//! # Why no library does this
//!
//! Maps of registers are the whole of what is shared so far, and they are this page of code. A
//! library for texts and trees that many edit at once (loro was meant) has a history to keep and to
//! cut, decoders that read what peers send, and 66 crates. Files and messages are in a format of
//! this crate, so such a library can come in under [`Replica`] on the day that a document has a
//! text in it that two people write at once.

mod document;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod malice;
mod replica;
pub mod schema;

pub use document::{
    MAX_BYTES, MAX_ENTRIES, MAX_ENTRIES_HERE, MAX_KEY_BYTES, MAX_REPLICAS, MAX_VALUE_BYTES,
    Refused, Value,
};
pub use replica::{Error, Opened, Replica, nothing};
pub use schema::{Schema, Step};
