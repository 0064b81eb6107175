//! The one place where settings live.
//!
//! A setting is a key with a kind, a default and a sentence that says what it does; all of them
//! stand in one table, [`registry`]. Programs read and change them through the interface
//! `hyper:settings/settings`, and nobody has settings of their own: what a person can adjust is
//! found here, and what is here can be listed, documented, kept over updates and, where it is the
//! person's rather than the device's, followed to the person's other devices (`system/state`, by
//! the interface `hyper:settings/following`).
//!
//! # What is promised
//!
//! - **Typed.** A value that does not fit is refused with a sentence that says what would fit.
//!   What is read always fits: a value in the file that does not is left there, its default is
//!   used, and [`Keeper::notices`] says so.
//! - **Durable before it answers.** A change that was acknowledged survives a power cut
//!   (`lib/store`); a change that cannot be saved is refused and nothing changes.
//! - **Told.** Every change is sent to every watcher, in the order in which it was made. A
//!   watcher that is [`WATCHED`] changes behind is dropped rather than told half.
//! - **Kept.** Keys that this release does not know, because a newer one wrote them before it was
//!   taken back, stay in the file as they are.
//! - **Nothing runs while nothing changes.** There is no timer and no thread.
//!
//! # Adding a setting
//!
//! Add a line to the table in [`registry`]. The kind of a published key never changes: a new kind
//! is a new key, with a step in [`values`] that carries the old one over.
//!
//! Defaults come from that table; an edition may put its own in their place (`/system/edition.toml`,
//! from `editions/`), and says which languages are offered. Only what the person changed is in
//! the file, so that a default that changes with a release reaches everyone who left it alone.

pub mod edition;
pub mod keeper;
pub mod registry;
mod relay;
mod served;
pub mod values;

pub use edition::Edition;
pub use keeper::{Change, Keeper, Refusal, WATCHED};
pub use registry::{Definition, Follows, Kind, Registry, Value};
pub use served::{interfaces, open, run};
