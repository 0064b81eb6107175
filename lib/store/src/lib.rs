//! Durable local state: the few things that a service must still know after the power failed.
//!
//! A service keeps one value in one file. It opens a [`Store`], reads the value as often as it
//! likes, and [`replace`](Store::replace)s it; when that answers, the new value survives a power
//! cut. State that grows piece by piece has a [`journal`]. That is all of it: no database, no
//! thread, no timer.
//!
//! # What is promised
//!
//! 1. **Acknowledged means durable.** A value whose `replace` answered `Ok` is there after any
//!    crash, or a newer one is.
//! 2. **Never torn.** After a crash the file holds one whole value: the last acknowledged one, or
//!    the one that was being written. The way there is the classical one, and every step of it is
//!    needed: write a new file beside the old, sync it, rename it over the old, sync the folder.
//!    A test takes each of the two syncs out and sees the promise break.
//! 3. **A failure changes nothing.** When the disk is full or broken, `replace` says so, and both
//!    the file and the value in memory stay what they were. (One exception that no program can
//!    avoid: when the very last step, syncing the folder, fails, the file may already be the new
//!    one. The value in memory is then the old one, and the next `replace` settles it.)
//! 4. **Damage is noticed.** The file carries a checksum. A damaged file is set aside under
//!    another name, never deleted and never overwritten; the default value is used, and
//!    [`Opened::notices`] has the sentence to tell the owner.
//! 5. **Versions go both ways.** See below.
//!
//! One process opens a file at a time: each service has its own folder, which nobody else can
//! write.
//!
//! # Versions
//!
//! A release that changes the shape of its state makes a new type and leaves the old one as it
//! is; the two are linked by [`Version::up`] and [`Version::down`], and so are all that came
//! before, down to [`Beginning`]. Going up is what everyone does. Going down is for the day when
//! an update is taken back: the older program is then in front of a file that a newer one wrote,
//! of a shape that it has never heard of. So the newer program, while it still ran, wrote the
//! older shapes as well, as a *form* each, and the older program takes the newest form that it
//! knows. What it does not know it keeps word for word. When the update comes again, `up` gets
//! the older program's value and beside it what the newer one had last, and puts back what the
//! older shape could not hold. Nobody loses anything on the way down and up again.
//!
//! A release may end the chain (with `type Previous = Beginning`) at the oldest release that it
//! can be taken back to.
//!
//! ```
//! # use serde::{Serialize, Deserialize};
//! # use store::{Beginning, Version};
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct LampV1 { bright: bool }
//! impl Version for LampV1 {
//!     const NUMBER: u32 = 1;
//!     type Previous = Beginning;
//!     fn up(previous: Beginning, _: Option<Self>) -> Self { match previous {} }
//!     fn down(&self) -> Option<Beginning> { None }
//! }
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Lamp { brightness: u8 }
//! impl Version for Lamp {
//!     const NUMBER: u32 = 2;
//!     type Previous = LampV1;
//!     fn up(previous: LampV1, before: Option<Self>) -> Self {
//!         match before {
//!             // The older release did not touch it: the exact brightness is still right.
//!             Some(before) if (before.brightness > 50) == previous.bright => before,
//!             _ => Lamp { brightness: if previous.bright { 100 } else { 10 } },
//!         }
//!     }
//!     fn down(&self) -> Option<LampV1> { Some(LampV1 { bright: self.brightness > 50 }) }
//! }
//!
//! # let folder = tempfile::tempdir().unwrap();
//! let opened = store::open::<Lamp>(&folder.path().join("lamp"))?;
//! let mut lamp = opened.store;
//! lamp.replace(Lamp { brightness: 70 })?;
//! # Ok::<(), store::Error>(())
//! ```

mod atomic;
mod envelope;
mod file_system;
pub mod journal;
pub mod simulation;
mod state;
mod version;

pub use file_system::{Disk, FileSystem, Private};
pub use state::{Error, Opened, Store, open, open_in};
pub use version::{Beginning, Chain, Forms, FormsError, Version};

/// Puts a whole file in the place of another, durably: after a power cut there is the old one or the new
/// one. For files whose form is somebody else's; a [`Store`] knows versions and sees damage.
///
/// # Errors
///
/// Fails when the disk does. What was there is there still.
pub fn put(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    match atomic::put(&Disk, path, bytes) {
        Ok(_) => Ok(()),
        Err((doing, error)) => Err(std::io::Error::new(
            error.kind(),
            format!("{}: {doing}: {error}", path.display()),
        )),
    }
}
